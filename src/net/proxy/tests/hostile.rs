//! Proxies that mean harm, for all who go through one: each costs a bounded number of bytes and a bounded time, and is
//! told apart from a host behind a good proxy.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::config::proxy::{Outbound, Proxy, ProxyProtocol, Way};
use crate::net::proxy::ProxyFault;
use crate::tls::provider::provider;

/// What the system may hold of what a proxy writes and nobody reads, for each connection.
const BUFFERS: u64 = 16 << 20;
/// The head of an answer that opens a tunnel.
const OPEN: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// What is said to a handshake of TLS by whoever does not know it.
const PAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n<html>";
/// A SOCKS proxy that wants no credentials, and has connected from 10.0.0.1:80.
const NO_CREDENTIALS: &[u8] = &[5, 0];
const CONNECTED: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0, 80];

/// Says what a proxy does once it has given its answers.
#[derive(Clone)]
pub(crate) enum End {
    /// It says nothing more, and keeps the connection.
    Silence,
    /// It says one byte each second.
    Trickle(u8),
    /// It says this again and again.
    Flood(&'static [u8]),
    /// It closes the connection.
    Close,
    /// It plays the host behind it, whose certificate is another's.
    Impostor,
}

/// Says whose failure it has to be called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Blame {
    /// The proxy's.
    Proxy(ProxyFault),
    /// That of whoever speaks TLS at the end of the tunnel.
    Tls,
    /// Nobody answers at the end of the tunnel.
    Target,
}

/// Is a way to do harm.
#[derive(Clone)]
pub(crate) struct Harm {
    pub(crate) name: &'static str,
    pub(crate) protocol: ProxyProtocol,
    /// What is said to each message that comes.
    answers: Vec<Vec<u8>>,
    end: End,
    pub(crate) blame: Blame,
    /// Connections that one request of the HTTP client costs: a second one where it keeps to itself what it was told.
    pub(crate) connections: usize,
}

impl Harm {
    /// Tells whether it is one of time: nothing but a clock ends it.
    pub(crate) fn takes_time(&self) -> bool {
        matches!(self.blame, Blame::Proxy(ProxyFault::Silent) | Blame::Target)
    }
}

/// Returns every way to do harm that is known here.
pub(crate) fn harms() -> Vec<Harm> {
    use Blame::{Target, Tls};
    use End::{Close, Flood, Impostor, Silence, Trickle};
    use ProxyFault::{Credentials, Denied, Protocol, Silent};
    let proxy = Blame::Proxy;
    let huge = [b"HTTP/1.1 200 OK\r\nx-huge: ", &vec![b'x'; 1 << 20][..], b"\r\n\r\n"].concat();
    let body = &b"x".repeat(4096).leak()[..];
    vec![
        over_http("never answers", b"", Silence, proxy(Silent), 2),
        over_http("trickles a head", b"HTTP/1.1 200 OK\r\nx-slow: ", Trickle(b'x'), proxy(Silent), 2),
        over_http("head without end", b"HTTP/1.1 200 OK\r\n", Flood(b"x-more: and more\r\n"), proxy(Protocol), 2),
        over_http("header without end", b"HTTP/1.1 200 OK\r\nx-more: ", Flood(body), proxy(Protocol), 1),
        over_http("huge header", &huge, Silence, proxy(Protocol), 1),
        over_http("garbage", b"\x00\xff\x00garbage", Close, proxy(Protocol), 2),
        over_http("garbage without end", b"", Flood(b"\x00\xff"), proxy(Protocol), 2),
        over_http("speaks tls", b"\x15\x03\x01\x00\x02\x02\x16", Close, proxy(Protocol), 2),
        over_http("body of gigabytes", b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n", Flood(body), Tls, 1),
        over_http("interim answers without end", b"", Flood(b"HTTP/1.1 100 Continue\r\n\r\n"), proxy(Protocol), 2),
        over_http("interim answer first", &[b"HTTP/1.1 103 No\r\n\r\n", OPEN].concat(), Silence, proxy(Protocol), 2),
        over_http("another protocol", b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", Silence, proxy(Protocol), 2),
        over_http("407 with a body without end", b"HTTP/1.1 407 No\r\n\r\n", Flood(body), proxy(Credentials), 1),
        over_http(
            "redirect",
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
            Flood(body),
            proxy(Denied),
            2,
        ),
        over_http("closes at once", b"", Close, proxy(Protocol), 1),
        over_http("closes half-way", b"HTTP/1.1 200 OK\r\nx-half: ", Close, proxy(Protocol), 1),
        over_http("closes its tunnel", OPEN, Close, Tls, 1),
        Harm { answers: vec![OPEN.to_vec(), PAGE.to_vec()], ..over_http("page instead of tls", b"", Silence, Tls, 1) },
        over_http("certificate of another name", OPEN, Impostor, Tls, 1),
        over_http("tunnel to nobody", OPEN, Silence, Target, 2),
        over_socks("never answers", &[b""], Silence, proxy(Silent), 2),
        over_socks("never answers the request", &[NO_CREDENTIALS, b""], Silence, proxy(Silent), 2),
        over_socks("trickles a name", &[NO_CREDENTIALS, &[5, 0, 0, 3, 255]], Trickle(b'x'), proxy(Silent), 2),
        over_socks("another version", &[&[4, 0]], Silence, proxy(Protocol), 2),
        over_socks(
            "another version later",
            &[NO_CREDENTIALS, &[4, 0, 0, 1, 10, 0, 0, 1, 0, 80]],
            Silence,
            proxy(Protocol),
            2,
        ),
        over_socks("another way to log in", &[&[5, 2]], Silence, proxy(Credentials), 1),
        over_socks("speaks http", &[b"HTTP/1.1 400 Bad Request\r\n\r\n"], Close, proxy(Protocol), 2),
        over_socks("bytes without end", &[b""], Flood(&[0; 4096]), proxy(Protocol), 2),
        over_socks("longer name than comes", &[NO_CREDENTIALS, &[5, 0, 0, 3, 255, b'x']], Close, proxy(Protocol), 1),
        over_socks("unknown kind of address", &[NO_CREDENTIALS, &[5, 0, 0, 9, 1, 2, 3]], Silence, proxy(Protocol), 2),
        over_socks("shorter name than comes", &[NO_CREDENTIALS, &[5, 0, 0, 3, 1]], Flood(body), Tls, 1),
        over_socks("not allowed", &[NO_CREDENTIALS, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]], Flood(body), proxy(Denied), 1),
        over_socks("closes at once", &[b""], Close, proxy(Protocol), 1),
        over_socks("closes half-way", &[NO_CREDENTIALS, &[5, 0]], Close, proxy(Protocol), 1),
        over_socks("body without end", &[NO_CREDENTIALS, CONNECTED], Flood(body), Tls, 1),
        over_socks("page instead of tls", &[NO_CREDENTIALS, CONNECTED, PAGE], Silence, Tls, 1),
        over_socks("certificate of another name", &[NO_CREDENTIALS, CONNECTED], Impostor, Tls, 1),
        over_socks("connection to nobody", &[NO_CREDENTIALS, CONNECTED], Silence, Target, 2),
    ]
}

fn over_http(name: &'static str, answer: &[u8], end: End, blame: Blame, connections: usize) -> Harm {
    Harm { name, protocol: ProxyProtocol::Http, answers: vec![answer.to_vec()], end, blame, connections }
}

fn over_socks(name: &'static str, answers: &[&[u8]], end: End, blame: Blame, connections: usize) -> Harm {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    Harm { name, protocol: ProxyProtocol::Socks5h, answers, end, blame, connections }
}

/// Is a running proxy, which counts what it says.
pub(crate) struct HostileProxy {
    port: u16,
    protocol: ProxyProtocol,
    written: Arc<AtomicU64>,
    connections: Arc<AtomicUsize>,
    /// Connections that are open still.
    open: watch::Sender<usize>,
    folder: TempDir,
    _task: JoinSet<()>,
}

impl HostileProxy {
    pub(crate) async fn start(harm: &Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let folder = tempfile::tempdir().expect("a folder");
        let acceptor = impostor(&folder);
        let (written, connections) = (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
        let open = watch::Sender::new(0);
        let mut task = JoinSet::new();
        let counted = (Arc::clone(&written), Arc::clone(&connections), open.clone());
        let (answers, end) = (harm.answers.clone(), harm.end.clone());
        task.spawn(async move {
            let mut all = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                counted.1.fetch_add(1, Ordering::SeqCst);
                counted.2.send_modify(|open| *open += 1);
                let (answers, end, acceptor) = (answers.clone(), end.clone(), acceptor.clone());
                let (written, open) = (Arc::clone(&counted.0), counted.2.clone());
                all.spawn(async move {
                    serve(stream, answers, end, acceptor, &written).await;
                    open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { port, protocol: harm.protocol, written, connections, open, folder, _task: task }
    }

    pub(crate) fn outbound(&self) -> Outbound {
        let proxy = Proxy { protocol: self.protocol, host: "127.0.0.1".into(), port: self.port, credentials: None };
        Outbound { way: Way::Proxy(proxy), no_proxy: Vec::new() }
    }

    /// Returns the authority that made the certificate of another name.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until nobody is connected, and checks that no more was taken than the system holds.
    pub(crate) async fn is_left_alone(&self, name: &str) {
        self.open.subscribe().wait_for(|open| *open == 0).await.expect("the sender is here");
        let written = self.written.load(Ordering::SeqCst);
        assert!(written < BUFFERS * self.connections() as u64, "{name}: {written} bytes were taken");
    }
}

/// Answers one connection, until it is gone.
async fn serve(mut stream: TcpStream, answers: Vec<Vec<u8>>, end: End, acceptor: TlsAcceptor, written: &AtomicU64) {
    let mut message = [0; 1024];
    for answer in answers {
        if stream.read(&mut message).await.is_ok_and(|read| read > 0) && stream.write_all(&answer).await.is_ok() {
            written.fetch_add(answer.len() as u64, Ordering::SeqCst);
        }
    }
    match end {
        End::Silence => while stream.read(&mut message).await.is_ok_and(|read| read > 0) {},
        End::Trickle(byte) => {
            while stream.write_all(&[byte]).await.is_ok() {
                written.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_secs(1)).await;
            }
        }
        End::Flood(piece) => {
            let piece = piece.repeat(4096_usize.div_ceil(piece.len()));
            while stream.write_all(&piece).await.is_ok() {
                written.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
        End::Close => {}
        End::Impostor => {
            let _ = acceptor.accept(stream).await;
        }
    }
}

/// Makes the TLS of another host, and writes its authority down.
fn impostor(folder: &TempDir) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["other.example".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = builder.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}
