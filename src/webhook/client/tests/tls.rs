//! Handlers behind TLS: whom the client trusts, and what it says of those it does not.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::config::authorization::OAuth;
use crate::telemetry::metrics::Expiry;
use crate::tls::fault::TlsFault;

/// Changes a certificate before it is made.
type Change = dyn Fn(&mut CertificateParams);

#[tokio::test]
async fn plain_port_behind_https_is_tls() {
    for answer in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            // All of the hello is read, so that closing sends an end of file and no reset.
            let mut hello = [0; 16 * 1024];
            let _ = socket.read(&mut hello).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        });
        let error = failure(&destination(&format!("https://{addr}/"))).await;
        let expected = if answer.is_empty() { TlsFault::Closed } else { TlsFault::NotTls };
        assert_eq!(error.cause(), Cause::Tls(expected), "{error}");
    }
}

#[tokio::test]
async fn own_certificate_is_trusted_by_ca_file_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (acceptor, ca_file) = certificate(folder.path());
    let mut handler = Handler::start_tls([Act::Answer(OK.into())], acceptor).await;
    let untrusting = destination(&format!("https://localhost:{}/hook?key=canary", handler.addr.port()));

    let error = failure(&untrusting).await;
    assert!(
        matches!(&error, SendError::Tls(TlsFault::Authority, words) if words.contains("name its file in ca_file")),
        "{error}"
    );

    let trusting = Destination { ca_file: Some(ca_file), ..untrusting };
    assert_eq!(send(&trusting).await.expect("an answer").status, 200);
    assert_eq!(split(&handler.requests.recv().await.expect("the request").bytes).1, BODY);
}

#[tokio::test]
async fn certificate_that_is_no_good_is_told_by_what_is_wrong_with_it() {
    let yesterday = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let tomorrow = |params: &mut CertificateParams| params.not_before = date_time_ymd(2089, 1, 1);
    let elsewhere = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::DnsName("elsewhere.example".try_into().expect("a name"))];
    };
    // As openssl makes one that signs itself.
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cases: [(&Change, TlsFault); 4] = [
        (&yesterday, TlsFault::Expired),
        (&tomorrow, TlsFault::NotYetValid),
        (&elsewhere, TlsFault::Name),
        (&authority, TlsFault::NotForServers),
    ];
    for (change, fault) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let (acceptor, ca_file) = changed(folder.path(), "ca.pem", change);
        let handler = Handler::start_tls([], acceptor).await;
        let trusting = destination(&format!("https://localhost:{}/hook", handler.addr.port()));
        let error = failure(&Destination { ca_file: Some(ca_file), ..trusting }).await;
        assert_eq!(error.cause(), Cause::Tls(fault), "{error}");
    }
}

/// As Python's own HTTP server behind TLS ends them.
#[tokio::test]
async fn answer_without_a_length_is_complete_where_its_connection_ends_without_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let (acceptor, ca_file) = certificate(folder.path());
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok";
    let acts = ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nok", cut];
    let handler = Handler::start_tls(acts.map(|answer| Act::AnswerAndClose(answer.into())), acceptor).await;
    let url = format!("https://localhost:{}/hook", handler.addr.port());
    let destination = Destination { ca_file: Some(ca_file), ..destination(&url) };
    for body in ["", "ok"] {
        let answer = send(&destination).await.expect("an answer");
        assert_eq!((answer.status, answer.excerpt.as_str()), (200, body));
    }
    assert_eq!(failure(&destination).await.cause(), Cause::Cut, "what has a length has its end");
}

#[test]
fn missing_ca_file_is_an_error_of_the_client() {
    let destination = Destination { ca_file: Some("/nonexistent/ca.pem".into()), ..destination("https://localhost/") };
    let Err(error) = connected(&destination) else { panic!("a client without its certificates") };
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}

/// Runs another test in a process that finds no CA store: its environment points to nothing.
#[test]
fn plain_http_works_without_a_ca_store() {
    let test = "webhook::client::tests::answer::answer_is_read_whole_and_the_connection_kept";
    let output = Command::new(std::env::current_exe().expect("this test binary"))
        .args([test, "--exact"])
        .env("SSL_CERT_FILE", "/nonexistent/ca.pem")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .expect("a second process");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn ports_of_one_host_are_told_apart_by_when_their_certificates_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (of_handler, handler_file) = until(folder.path(), "handler.pem", 2041);
    let (of_endpoint, endpoint_file) = until(folder.path(), "endpoint.pem", 2042);
    let ca_file = folder.path().join("both.pem");
    let both = [handler_file, endpoint_file].map(|file| std::fs::read_to_string(file).expect("readable"));
    std::fs::write(&ca_file, both.concat()).expect("written");
    let token = br#"{"access_token":"t1","expires_in":3600}"#;
    let token = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", token.len(), String::from_utf8_lossy(token));
    let handler = Handler::start_tls([Act::Answer(OK.into())], of_handler).await;
    let endpoint = Handler::start_tls([Act::Answer(token.into())], of_endpoint).await;
    let url = |handler: &Handler| format!("https://localhost:{}/hook", handler.addr.port());
    let oauth = OAuth {
        token_url: url(&endpoint).parse().expect("a URL"),
        client_id: "id".into(),
        client_secret: Secret::new("s3cret"),
    };
    let auth = Auth::OAuth(oauth.clone());
    let destination = Destination { auth, ca_file: Some(ca_file), ..destination(&url(&handler)) };

    let (shown, at_endpoint) = (Expiry::default(), Expiry::default());
    let roots = Roots::load().watching(&destination.url, shown.clone()).watching(&oauth.token_url, at_endpoint.clone());
    let client = client(&destination, &roots, &Clock::system()).expect("a client");
    assert_eq!(client.oneshot(outgoing()).await.expect("an answer").status, 200);
    let end = |year: i32| Some(format!("{year}-12-31T00:00:00Z").parse().expect("an instant"));
    assert_eq!((shown.get(), at_endpoint.get()), (end(2041), end(2042)));
}

/// Makes a certificate for `localhost` that nobody signed but itself.
pub(super) fn certificate(folder: &Path) -> (TlsAcceptor, PathBuf) {
    until(folder, "ca.pem", 2090)
}

/// Makes one that ends with this year.
fn until(folder: &Path, file: &str, year: i32) -> (TlsAcceptor, PathBuf) {
    changed(folder, file, &move |params| params.not_after = date_time_ymd(year, 12, 31))
}

fn changed(folder: &Path, file: &str, change: &Change) -> (TlsAcceptor, PathBuf) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_after = date_time_ymd(2090, 1, 1);
    change(&mut params);
    let pair = KeyPair::generate().expect("a key");
    let made = params.self_signed(&pair).expect("a certificate");
    let ca_file = folder.join(file);
    std::fs::write(&ca_file, made.pem()).expect("a file");
    let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key)
        .expect("a key that fits");
    (TlsAcceptor::from(Arc::new(config)), ca_file)
}
