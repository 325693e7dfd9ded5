//! What strangers can do to the operator's port, and through it to the bridge: little.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::lab::{Bridge, Lab, bodies};

/// Fewer file descriptors than any system gives.
const FILES: usize = 64;

#[tokio::test]
async fn half_open_flood_stops_neither_deliveries_nor_the_port() {
    let mut lab = Lab::new(&["crm"]).await;
    // Each connection to a handler takes a file descriptor, too.
    lab.destination_lines = "concurrency = 8".to_owned();
    lab.write_configuration(&["crm"]);
    let bridge = Bridge::start(with_few_files(lab.command(&["run"]))).await;
    bridge.until_ready().await;
    let mut flood = Vec::new();
    for _ in 0..FILES {
        let mut stream = TcpStream::connect(bridge.admin).await.expect("it listens");
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localh").await.expect("it takes connections");
        flood.push(stream);
    }
    let events = bodies(0..100);
    for event in &events {
        lab.zoom.push(event).await;
    }
    lab.handler("crm").has_taken(events.len()).await;
    bridge.until("/api/v1/status", |code, text| code == 200 && text.contains("\"pending\":0")).await;
    let (_, metrics) = bridge.get("/metrics").await;
    assert!(metrics.contains("outcome=\"retry\"} 0\n"), "no delivery had to wait for a file descriptor\n{metrics}");
    // A stranger's health check is answered, too: those that say nothing give their places away.
    let mut probe = TcpStream::connect(bridge.admin).await.expect("it listens");
    probe.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, metrics) = bridge.get("/metrics").await;
    assert!(metrics.contains("zoomhook_admin_refusals_total{reason=\"displaced\"}"), "{metrics}");
    assert!(!bridge.log().contains("cannot accept"), "{}", bridge.log());
    let mut first = flood.swap_remove(0);
    assert_eq!(first.read(&mut [0; 1]).await.unwrap_or(0), 0, "the first of them was closed");
    bridge.stop().await;
}

#[tokio::test]
async fn unix_socket_serves_the_command_line_and_nobody_else() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let path = lab.directory.path().join("admin.sock");
    let listen = format!("unix:{}", path.display());
    let mut bridge = lab.command(&["run", "--listen", &listen]).spawn().expect("it starts");
    lab.zoom.wait_for(|counts| counts.accepted == 1).await;
    lab.zoom.push(&bodies(0..1)[0]).await;
    lab.handler("crm").has_taken(1).await;

    let (code, out, err) = lab.run(&["status", "--listen", &listen]).await;
    assert!(code == 0 && out.contains("main: live"), "{out}{err}");
    let (code, out, err) = lab.run(&["pause", "crm", "--listen", &listen]).await;
    assert!(code == 0 && out.contains("crm is paused"), "{out}{err}");
    let audit = lab.view().audit(None, 1).expect("readable");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(lab.directory.path()).expect("there"));
    assert_eq!((&*audit[0].action, &*audit[0].who), ("pause", &*format!("operator with uid {uid}")));

    let pid = bridge.id().expect("running").to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
    assert!(sent.success() && bridge.wait().await.expect("it ends").success());
    assert!(!path.exists(), "the socket is gone");
    let (_, out, _) = lab.run(&["status", "--listen", &listen]).await;
    assert!(out.starts_with(&format!("No bridge is running on {listen}")), "{out}");
}

#[tokio::test]
async fn encrypted_port_serves_the_command_line_and_takes_a_renewed_certificate() {
    let mut lab = Lab::new(&["crm"]).await;
    let file = |name: &str| lab.directory.path().join(name);
    let authority = Authority::new();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    std::fs::write(&ca, authority.0.pem()).expect("written");
    // The address is not in it: the command line knows the name from the file.
    authority.write("zoomhook.bank.internal", &cert, &key);
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").port()
    };
    let lines = format!(
        "[admin]\nlisten = \"127.0.0.1:{port}\"\ntls_cert = {cert:?}\ntls_key = {key:?}\nclient_ca_file = {ca:?}\n\
         client_cert = {cert:?}\nclient_key = {key:?}\n"
    );
    lab.admin_lines = Some(lines);
    lab.write_configuration(&["crm"]);
    let bridge = Bridge::start(lab.command(&["run"])).await;
    lab.zoom.wait_for(|counts| counts.accepted == 1).await;

    let (code, out, err) = lab.run(&["status"]).await;
    assert!(code == 1 && err.contains("name its file in ca_file"), "{out}{err}");
    let ca_file = ["--ca-file", ca.to_str().expect("text")];
    let status = ["status", ca_file[0], ca_file[1]];
    let (code, out, err) = lab.run(&status).await;
    assert!(code == 0 && out.contains("admin port: its certificate expires in"), "{out}{err}");

    std::fs::write(&key, "no key").expect("written");
    bridge.signal("HUP");
    bridge.logged("keeps the certificate that it has").await;
    authority.write("zoomhook.bank.internal", &cert, &key);
    bridge.signal("HUP");
    bridge.logged("the certificate of the admin port was read again").await;
    bridge.logged("the configuration was read again").await;
    let (code, out, err) = lab.run(&status).await;
    assert!(code == 0 && !out.contains("no good"), "{out}{err}");
    authority.write_for("zoomhook.bank.internal", 10, &cert, &key);
    bridge.signal("HUP");
    bridge.logged("the certificate of the admin port expires in 9 d").await;

    // Whoever speaks in plain text, or has no certificate of their own, gets no answer.
    let mut plain = TcpStream::connect(bridge.admin).await.expect("it listens");
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("it reads");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let config = zoomhook::tls::client_config(Some(&ca)).expect("an authority");
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .resolve("zoomhook.bank.internal", bridge.admin)
        .build()
        .expect("a client");
    let url = format!("https://zoomhook.bank.internal:{port}/livez");
    http.get(url).send().await.expect_err("it shows no certificate");
    bridge.signal("TERM");
    let (status, log) = bridge.ended().await;
    assert!(status.success(), "{log}");
}

/// Is a certificate authority of a house.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a house");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    /// Makes a certificate for this name that is good for so many days, and its key.
    pub(crate) fn identity(&self, name: &str, days: u64) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let (certificate, pair) = self.signed(name, days);
        (certificate.der().clone(), PrivateKeyDer::try_from(pair.serialize_der()).expect("a key"))
    }

    pub(crate) fn write(&self, name: &str, cert: &Path, key: &Path) {
        self.write_for(name, 365, cert, key);
    }

    /// Writes a certificate that is good for so many days, and its key.
    fn write_for(&self, name: &str, days: u64, cert: &Path, key: &Path) {
        let (certificate, pair) = self.signed(name, days);
        std::fs::write(cert, certificate.pem()).expect("written");
        std::fs::write(key, pair.serialize_pem()).expect("written");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    fn signed(&self, name: &str, days: u64) -> (Certificate, KeyPair) {
        let pair = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().expect("later");
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970 + Duration::from_secs(days * 86_400);
        (params.signed_by(&pair, &self.0).expect("a certificate"), pair)
    }
}

/// Runs the same command with a low limit of file descriptors.
fn with_few_files(command: Command) -> Command {
    let inner = command.as_std();
    let mut outer = Command::new("/bin/sh");
    outer.arg("-c").arg(format!("ulimit -n {FILES} && exec \"$0\" \"$@\"")).arg(inner.get_program());
    outer.args(inner.get_args()).env_clear().kill_on_drop(true);
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}
