//! One connection to a handler, driven by whoever uses it.
//!
//! ```text
//! exchange ──▶ sender ──▶ driver (hyper) ──▶ Metered ──▶ TCP, TLS
//!                              ▲ polled within the exchange: an answer wakes one task, and an idle connection none
//! ```

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::route::Stream;

/// How much may come before the head of an answer is complete, interim answers (1xx) among it: four times what Node reads.
const HEAD_MAX: usize = 64 << 10;

type Driver = http1::Connection<TokioIo<Metered>, Full<Bytes>>;

/// Is a connection, for one exchange after the other.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Box<Driver>>,
    meter: Arc<Meter>,
}

impl Connection {
    pub(super) async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let meter = Arc::new(Meter(AtomicUsize::new(HEAD_MAX)));
        let metered = TokioIo::new(Metered { stream, meter: Arc::clone(&meter) });
        // Of old servers, what a client is to take as well (RFC 9112, sections 5.1 and 5.2).
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(metered)
            .await?;
        Ok(Self { sender, driver: Some(Box::new(driver)), meter })
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        self.meter.expect_a_head();
        let answer = self.sender.send_request(request);
        let answer = drive(&mut self.driver, answer).await?;
        self.meter.expect_a_body();
        Ok(answer)
    }

    /// Waits for the next piece of a body; `None` at its end.
    pub(super) async fn piece(&mut self, body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            // What is no data is a trailer.
            match drive(&mut self.driver, body.frame()).await?.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Tells whether no byte came since the last request was sent.
    pub(super) fn is_unanswered(&self) -> bool {
        self.meter.is_untouched()
    }

    /// Tells whether another request can be sent, as far as is known by now. Nobody is woken by what comes later.
    pub(super) fn is_ready(&mut self) -> bool {
        if let Some(driver) = &mut self.driver
            && Pin::new(&mut **driver).poll(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            self.driver = None;
        }
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Waits for something that comes over the connection. Where the connection ends, what is waited for says why.
async fn drive<F: Future>(driver: &mut Option<Box<Driver>>, awaited: F) -> F::Output {
    let mut awaited = pin!(awaited);
    poll_fn(|context| {
        if let Some(driving) = driver
            && Pin::new(&mut **driving).poll(context).is_ready()
        {
            *driver = None;
        }
        awaited.as_mut().poll(context)
    })
    .await
}

/// Counts down what may be read before the head of an answer is complete.
struct Meter(AtomicUsize);

impl Meter {
    /// Is never counted down to nothing.
    const UNLIMITED: usize = usize::MAX;

    fn expect_a_head(&self) {
        self.0.store(HEAD_MAX, Ordering::Relaxed);
    }

    fn expect_a_body(&self) {
        self.0.store(Self::UNLIMITED, Ordering::Relaxed);
    }

    fn is_untouched(&self) -> bool {
        self.0.load(Ordering::Relaxed) == HEAD_MAX
    }

    /// Takes note of bytes that were read, which may be the last ones.
    fn read(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed);
        if left != Self::UNLIMITED {
            self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Is a connection that is read no further than its meter allows.
struct Metered {
    stream: Stream,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.meter.is_spent() {
            let text = format!("more than {} kB came before the head of an answer was complete", HEAD_MAX >> 10);
            return Poll::Ready(Err(io::Error::other(text)));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buf);
        self.meter.read(buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
