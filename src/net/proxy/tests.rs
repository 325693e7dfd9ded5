//! Proxies that answer this and that, byte by byte.

pub(crate) mod hostile;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::config::proxy::ProxyCredentials;
use crate::config::secret::Secret;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn credentials() -> ProxyCredentials {
    ProxyCredentials { user: Secret::new("user"), password: Secret::new("canary") }
}

/// Answers each message as given, and returns what was asked.
async fn answering(mut stream: DuplexStream, answers: Vec<&'static [u8]>) -> (Vec<Vec<u8>>, DuplexStream) {
    let mut asked = Vec::new();
    for answer in answers {
        let mut message = vec![0; 1024];
        let read = stream.read(&mut message).await.expect("it asks");
        message.truncate(read);
        asked.push(message);
        stream.write_all(answer).await.expect("it reads");
    }
    (asked, stream)
}

async fn over_http(credentials: Option<&ProxyCredentials>, answer: &'static [u8]) -> (Result<(), Refusal>, String) {
    let (mut near, far) = duplex(16 << 10);
    let asked = tokio::spawn(answering(far, vec![answer]));
    let outcome = http::connect(&mut near, credentials, "ws.zoom.us", 443).await;
    let (mut asked, _) = asked.await.expect("no panic");
    (outcome, String::from_utf8(asked.remove(0)).expect("text"))
}

#[tokio::test]
async fn tunnel_is_asked_for_with_credentials_and_what_follows_the_answer_stays() {
    let (mut near, far) = duplex(16 << 10);
    let asked = tokio::spawn(answering(far, vec![b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nbeyond"]));
    http::connect(&mut near, Some(&credentials()), "fd00::1", 443).await.expect("a tunnel");
    let (asked, far) = asked.await.expect("no panic");
    assert_eq!(
        String::from_utf8_lossy(&asked[0]),
        "CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\nProxy-Authorization: Basic dXNlcjpjYW5hcnk=\r\n\r\n"
    );
    drop(far);
    let mut rest = String::new();
    near.read_to_string(&mut rest).await.expect("text");
    assert_eq!(rest, "beyond");
}

#[tokio::test]
async fn answers_of_http_proxies_are_told_apart() {
    let cases: [(&[u8], ProxyFault, &str); 8] = [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ProxyFault::Credentials, "set proxy_credentials"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", ProxyFault::Denied, "ws.zoom.us:443"),
        (b"HTTP/1.1 503 No\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n", ProxyFault::Name, "ws.zoom.us"),
        (b"HTTP/1.1 502 No\r\nProxy-Status: p; error=dns_error\r\n\r\n", ProxyFault::Name, "ws.zoom.us"),
        (b"HTTP/1.1 503 No\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n", ProxyFault::Target, "503"),
        (b"SSH-2.0-OpenSSH", ProxyFault::Protocol, "SOCKS"),
        (b"HTTP/1.1 2x0\r\n\r\n", ProxyFault::Protocol, "http"),
        (b"HTTP/1.1 301 Moved\r\n\r\n", ProxyFault::Denied, "301"),
    ];
    for (answer, fault, words) in cases {
        let (outcome, _) = over_http(None, answer).await;
        let (found, said) = outcome.expect_err("no tunnel");
        assert_eq!(found, fault, "{said}");
        assert!(said.contains(words), "{said}");
    }
    let (outcome, _) = over_http(Some(&credentials()), b"HTTP/1.1 407 No\r\n\r\n").await;
    let (_, said) = outcome.expect_err("no tunnel");
    assert!(said.contains("check proxy_credentials") && !said.contains("canary"), "{said}");
}

#[tokio::test]
async fn endless_answer_is_not_read_to_its_end() {
    let (mut near, mut far) = duplex(1024);
    let flood = tokio::spawn(async move {
        far.write_all(b"HTTP/1.1 200 OK\r\n").await.ok();
        while far.write_all(&[b'x'; 1024]).await.is_ok() {}
    });
    let (fault, _) = http::connect(&mut near, None, "a", 1).await.expect_err("no end");
    assert_eq!(fault, ProxyFault::Protocol);
    drop(near);
    flood.await.expect("no panic");
}

#[tokio::test]
async fn socks_names_the_host_and_logs_in() {
    let (mut near, far) = duplex(1024);
    let answers: Vec<&[u8]> = vec![&[5, 2], &[1, 0], &[5, 0, 0, 1, 10, 0, 0, 1, 0, 80]];
    let asked = tokio::spawn(answering(far, answers));
    socks::connect(&mut near, Some(&credentials()), "ws.zoom.us", 443).await.expect("a connection");
    let (asked, _) = asked.await.expect("no panic");
    assert_eq!(asked[0], [5, 1, 2]);
    assert_eq!(asked[1], b"\x01\x04user\x06canary");
    assert_eq!(asked[2], b"\x05\x01\x00\x03\x0aws.zoom.us\x01\xbb");
}

#[tokio::test]
async fn answers_of_socks_proxies_are_told_apart() {
    let cases: [(bool, &[&[u8]], ProxyFault); 7] = [
        (false, &[&[5, 0xff]], ProxyFault::Credentials),
        (true, &[&[5, 0xff]], ProxyFault::Credentials),
        (true, &[&[5, 2], &[1, 1]], ProxyFault::Credentials),
        (false, &[&[5, 0], &[5, 2, 0, 1]], ProxyFault::Denied),
        (false, &[&[5, 0], &[5, 5, 0, 1]], ProxyFault::Target),
        (false, &[&[5, 0], &[5, 1, 0, 1]], ProxyFault::Target),
        (false, &[b"HTTP/1.1 400"], ProxyFault::Protocol),
    ];
    for (logs_in, answers, fault) in cases {
        let (mut near, far) = duplex(1024);
        let asked = tokio::spawn(answering(far, answers.to_vec()));
        let credentials = logs_in.then(credentials);
        let outcome = socks::connect(&mut near, credentials.as_ref(), "10.0.0.1", 443).await;
        let (found, said) = outcome.expect_err("no connection");
        assert_eq!(found, fault, "{said}");
        assert!(!said.contains("canary"), "{said}");
        asked.await.expect("no panic");
    }
}

#[tokio::test]
async fn proxy_that_is_not_there_is_named_without_its_credentials() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let (protocol, credentials) = (ProxyProtocol::Http, Some(credentials()));
    let proxy = Proxy { protocol, host: "127.0.0.1".into(), port, credentials };
    let error = open(&proxy, "ws.zoom.us", 443, None, soon()).await.expect_err("nobody there");
    assert_eq!(error.fault, ProxyFault::Unreachable);
    let said = format!("{error} {error:?}");
    assert!(said.contains(&format!("127.0.0.1:{port}")) && !said.contains("canary"), "{said}");
}

#[tokio::test]
async fn library_shows_the_same_credentials_as_we_do() {
    let odd = ProxyCredentials { user: Secret::new("us er@"), password: Secret::new("p%40:/ü#?") };
    for protocol in [ProxyProtocol::Http, ProxyProtocol::Socks5h] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = Proxy { protocol, host: "127.0.0.1".into(), port, credentials: Some(odd.clone()) };
        let recorded = async |listener: &tokio::net::TcpListener| {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut message = vec![0; 1024];
            if protocol == ProxyProtocol::Socks5h {
                stream.read_exact(&mut [0; 3]).await.expect("a greeting");
                stream.write_all(&[5, 2]).await.expect("it reads");
            }
            let read = stream.read(&mut message).await.expect("credentials");
            message.truncate(read);
            match protocol {
                ProxyProtocol::Http => {
                    let text = String::from_utf8(message).expect("text");
                    let (_, rest) = text.split_once("uthorization: ").expect("credentials");
                    rest.lines().next().expect("a line").as_bytes().to_vec()
                }
                ProxyProtocol::Socks5 | ProxyProtocol::Socks5h => message,
            }
        };
        let (ours, _) = tokio::join!(recorded(&listener), open(&proxy, "crm.invalid", 443, None, soon()));
        let outbound = Outbound { way: crate::config::proxy::Way::Proxy(proxy), no_proxy: Vec::new() };
        let tls = crate::tls::client_config(None).expect("roots");
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).proxy(for_reqwest(outbound));
        let client = client.build().expect("a client");
        let (theirs, _) = tokio::join!(recorded(&listener), client.get("https://crm.invalid/").send());
        assert_eq!(String::from_utf8_lossy(&theirs), String::from_utf8_lossy(&ours), "{protocol:?}");
    }
}
