//! The exporter of traces: OTLP over HTTP, in protobuf, as every OpenTelemetry collector takes it.
//!
//! It is a task of its own behind a bounded queue. A collector that is slow or away costs spans, which are counted, and
//! never an event: nothing waits for it but the end of the program, and that for a bounded time.

mod message;

use std::error::Error;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use self::message::request;
use super::metrics::{Certificate, Metrics};
use super::spans::Span;
use crate::config::allow::Forbidden;
use crate::config::authorization::HeaderText;
use crate::config::proxy::Outbound;
use crate::config::tls::TlsRules;
use crate::config::traces::Traces;
use crate::net::guard::Guard;
use crate::tls::{Roots, TlsError};

/// Spans of one request: as many as the usual exporters send.
const BATCH: usize = 512;
/// How long spans wait for company: people look at traces seconds later.
const COMPANY: Duration = Duration::from_secs(1);
/// How long a collector may take to answer, by default of the specification.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes that are read of an answer, which is a number and a sentence.
const LONGEST_ANSWER: usize = 64 << 10;
/// Pauses before a batch is sent again that the collector could not take just then; it is given up after them.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// How long the end of the program waits for what is in the queue.
const FLUSH: Duration = Duration::from_secs(3);

/// Sends spans to a collector.
pub(crate) struct Exporter {
    client: Client,
    endpoint: Url,
    headers: HeaderMap,
    waiting: mpsc::Receiver<Span>,
    dropped: Counter,
    /// Whether the collector took the last batch.
    taken: bool,
}

/// Says why there is no exporter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExporterError {
    /// The certificates cannot be used.
    #[error("traces cannot be sent: {0}")]
    Tls(#[from] TlsError),
    /// The collector is where nothing may be sent.
    #[error("traces cannot be sent: {0}")]
    Egress(#[from] Forbidden),
    /// No HTTP client can be made.
    #[error("traces cannot be sent: no http client can be made")]
    Client(#[from] reqwest::Error),
}

/// Says why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// It may be taken later.
    #[error("{0}")]
    NotNow(String),
    /// It will not be.
    #[error("it answers {0}")]
    Never(StatusCode),
}

impl Exporter {
    /// Makes the exporter that a configuration asks for, if it does, and has spans recorded from now on.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn connect(traces: Option<&Traces>, metrics: &Metrics) -> Result<Option<Self>, ExporterError> {
        let Some(traces) = traces else { return Ok(None) };
        // Addresses that stand in a URL are not resolved, and so never looked at again.
        traces.allow.judge_url(&traces.endpoint, &Outbound::DIRECT)?;
        let expiry = metrics.certificate_expiry.get_or_create_owned(&Certificate::Collector);
        let roots = Roots::load().watching(&traces.endpoint, expiry);
        let client = Client::builder()
            .tls_backend_preconfigured(roots.client(traces.ca_file.as_deref(), &TlsRules::DEFAULT)?)
            // A collector is inside; a redirect would carry its key away.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(Guard::new(Some(traces.allow.clone())))
            .timeout(ANSWER)
            .build()?;
        let dropped = metrics.spans_dropped.clone();
        let waiting = metrics.spans.record(traces.sample, dropped.clone());
        let (endpoint, headers) = (traces.endpoint.clone(), headers(traces));
        Ok(Some(Self { client, endpoint, headers, waiting, dropped, taken: true }))
    }

    /// Sends what comes until `stop`, then what is there still, as far as there is time.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        let stopped = stop.clone();
        let work = async {
            while self.gather(&mut batch).await {
                self.send(&mut batch).await;
            }
        };
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = work => {}
        }
        self.waiting.close();
        let flush = async {
            while !batch.is_empty() || self.waiting.recv_many(&mut batch, BATCH).await > 0 {
                self.send(&mut batch).await;
            }
        };
        if timeout(FLUSH, flush).await.is_err() {
            warn!("the collector of traces is slow: the last spans are dropped");
        }
    }

    /// Waits for a batch; false when there will be none.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        if self.waiting.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let company = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.waiting.recv_many(batch, room).await == 0 {
                    return;
                }
            }
        };
        // What came in time is in the batch already.
        let _ = timeout(COMPANY, company).await;
        true
    }

    /// Sends a batch and empties it. It is sent again if need be, unless the collector did not take the one before either.
    async fn send(&mut self, batch: &mut Vec<Span>) {
        let mut sent = self.post(batch).await;
        for pause in PAUSES {
            if !self.taken || !matches!(sent, Err(Refusal::NotNow(_))) {
                break;
            }
            sleep(pause).await;
            sent = self.post(batch).await;
        }
        self.concluded(sent, batch);
    }

    /// Sends a batch once; returns how many spans of it the collector rejected.
    async fn post(&self, batch: &[Span]) -> Result<u64, Refusal> {
        let body = request(batch).encode_to_vec();
        let asked = self.client.post(self.endpoint.clone()).headers(self.headers.clone()).body(body).send();
        let response = asked.await.map_err(|error| Refusal::NotNow(innermost(&error)))?;
        match response.status() {
            status if status.is_success() => Ok(message::rejected(&read(response).await)),
            // Those that the specification has sent again.
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Err(Refusal::NotNow(format!("it answers {status}"))),
            status => Err(Refusal::Never(status)),
        }
    }

    /// Counts what is lost, and tells when the collector goes away and comes back.
    fn concluded(&mut self, sent: Result<u64, Refusal>, batch: &mut Vec<Span>) {
        match sent {
            Ok(rejected) => {
                self.dropped.inc_by(rejected);
                if !self.taken {
                    info!("the collector takes traces again");
                }
                self.taken = true;
            }
            Err(refusal) => {
                self.dropped.inc_by(batch.len() as u64);
                if self.taken {
                    warn!("the collector takes no traces, spans are dropped and counted: {refusal}");
                }
                self.taken = false;
            }
        }
        batch.clear();
    }
}

/// Reads the beginning of an answer, which may be endless; what cannot be read says nothing.
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < LONGEST_ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body
}

/// Returns the text of the innermost error, the one that names no URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error as &dyn Error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn headers(traces: &Traces) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    for header in &traces.headers {
        let (text, is_secret) = match &header.value {
            HeaderText::Plain(text) => (text.as_str(), false),
            HeaderText::Secret(secret) => (secret.expose(), true),
        };
        let mut value = HeaderValue::try_from(text).expect("the configuration takes header values only");
        value.set_sensitive(is_secret);
        headers.insert(header.name.clone(), value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::allow::AllowList;
    use crate::config::host::HostPattern;
    use crate::config::traces::Sample;

    #[tokio::test]
    async fn collector_is_asked_at_an_allowed_address_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let named = format!("http://localhost:{port}/v1/traces");
        let exporter = collector(&named, "10.0.0.0/8").expect("its address is not known yet");
        let Err(Refusal::NotNow(words)) = exporter.post(&[]).await else { panic!("it was asked") };
        assert_eq!(words, "localhost (127.0.0.1) is not in egress.allow");
        assert!(listener.accept().now_or_never().is_none(), "somebody came");

        let by_address = format!("http://127.0.0.1:{port}/v1/traces");
        assert!(matches!(collector(&by_address, "10.0.0.0/8"), Err(ExporterError::Egress(_))));
        for (url, allow) in [(&named, "127.0.0.0/8"), (&named, "localhost"), (&by_address, "127.0.0.1")] {
            let exporter = collector(url, allow).expect("allowed");
            let (asked, ()) = tokio::join!(exporter.post(&[]), answer(&listener, b"content-length: 0\r\n\r\n", 0));
            assert_eq!(asked.expect("taken"), 0, "{url}");
        }
    }

    #[tokio::test]
    async fn answer_without_end_is_read_no_further_than_it_matters() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let exporter = collector(&url, "127.0.0.1").expect("allowed");
        let (asked, ()) = tokio::join!(exporter.post(&[]), answer(&listener, b"\r\n", u64::MAX));
        assert_eq!(asked.expect("taken"), 0);
    }

    /// Answers one request with a head and so many bytes, as far as they are taken.
    async fn answer(listener: &TcpListener, head: &[u8], mut left: u64) {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        assert!(stream.read(&mut [0; 4096]).await.expect("a request") > 0);
        stream.write_all(&[b"HTTP/1.1 200 OK\r\n", head].concat()).await.expect("it reads");
        let mut written = 0_u64;
        while left > 0 && stream.write_all(&[b'x'; 4096]).await.is_ok() {
            (left, written) = (left - 4096, written + 4096);
        }
        assert!(written < (16 << 20), "{written} bytes were taken");
    }

    fn collector(url: &str, allow: &str) -> Result<Exporter, ExporterError> {
        let traces = Traces {
            endpoint: url.parse().expect("a URL"),
            headers: Vec::new(),
            sample: Sample::ALL,
            ca_file: None,
            allow: AllowList { patterns: Some(vec![HostPattern::new(allow).expect("a pattern")]) },
        };
        Exporter::connect(Some(&traces), &Metrics::new()).map(|exporter| exporter.expect("it is wanted"))
    }
}
