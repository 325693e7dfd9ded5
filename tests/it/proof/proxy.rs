//! A network that misbehaves: a TCP proxy on loopback whose faults can be changed while it runs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes that are carried at once.
const CHUNK: usize = 4096;

/// Says what happens to bytes under way, in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// Each chunk comes so much later.
    Delay(Duration),
    /// They go nowhere, and nobody is told. A connection that lost some is never whole again.
    Swallow,
    /// So many at a time, and such a pause after them.
    Trickle(usize, Duration),
    /// The connection is reset after so many.
    ResetAfter(usize),
}

/// Is a running proxy; it ends with the value, and its connections with it.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    fault: watch::Sender<Fault>,
    cuts: watch::Sender<usize>,
    connections: watch::Sender<usize>,
    _stop: DropGuard,
}

impl Proxy {
    /// Starts one in front of this address.
    pub(super) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (fault, faults) = watch::channel(Fault::None);
        let (cuts, cut) = watch::channel(0);
        let connections = watch::Sender::new(0);
        let (stop, counted) = (CancellationToken::new(), connections.clone());
        let stopped = stop.clone();
        tokio::spawn(async move {
            while let Some(Ok((near, _))) = stopped.run_until_cancelled(listener.accept()).await {
                counted.send_modify(|count| *count += 1);
                let (faults, mut cut) = (faults.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(stopped.clone().run_until_cancelled_owned(connection(near, target, faults, cut)));
            }
        });
        Self { address, fault, cuts, connections, _stop: stop.drop_guard() }
    }

    /// Changes what happens from now on, to open connections too.
    pub(super) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Resets every connection.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Waits until so many connections were made.
    pub(super) async fn has_accepted(&self, connections: usize) {
        self.connections.subscribe().wait_for(|count| *count >= connections).await.expect("alive");
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.borrow()
    }
}

/// Says how a connection ends.
enum End {
    Fin,
    Reset,
}

async fn connection(
    mut near: TcpStream,
    target: SocketAddr,
    faults: watch::Receiver<Fault>,
    mut cut: watch::Receiver<usize>,
) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let end = {
        let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
        tokio::select! {
            end = carry(near_in, far_out, faults.clone()) => end.unwrap_or(End::Fin),
            end = carry(far_in, near_out, faults) => end.unwrap_or(End::Fin),
            _ = cut.changed() => End::Reset,
        }
    };
    if let End::Reset = end {
        let _ = (near.set_zero_linger(), far.set_zero_linger());
    }
}

async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, faults: watch::Receiver<Fault>) -> io::Result<End> {
    let mut chunk = [0; CHUNK];
    let mut carried = 0;
    let mut is_whole = true;
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(End::Fin);
        }
        let fault = *faults.borrow();
        let bytes = &chunk[..read];
        match fault {
            _ if !is_whole => {}
            Fault::None => to.write_all(bytes).await?,
            Fault::Delay(by) => {
                tokio::time::sleep(by).await;
                to.write_all(bytes).await?;
            }
            Fault::Swallow => is_whole = false,
            Fault::Trickle(size, pause) => {
                for piece in bytes.chunks(size) {
                    to.write_all(piece).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Fault::ResetAfter(most) => {
                let left = most.saturating_sub(carried).min(read);
                to.write_all(&bytes[..left]).await?;
                if left < read {
                    return Ok(End::Reset);
                }
            }
        }
        carried += read;
    }
}
