use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;

async fn encrypted() -> Zoom {
    Zoom::with(Options { transport: Transport::Tls, ..Options::default() }).await
}

fn connector(zoom: &Zoom) -> TlsConnector {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), zoom.authority().unwrap()).unwrap();
    TlsConnector::from(Arc::new(crate::tls::client_config(Some(file.path())).unwrap()))
}

#[tokio::test]
async fn every_name_of_this_machine_is_certified_and_served() {
    let zoom = encrypted().await;
    assert_eq!((zoom.token_url().scheme(), zoom.ws_url("a").scheme()), ("https", "wss"));
    for name in ["localhost", "127.0.0.1", "::1"] {
        let tcp = TcpStream::connect(zoom.addr()).await.unwrap();
        let mut tls = connector(&zoom).connect(ServerName::try_from(name).unwrap(), tcp).await.unwrap();
        let head = format!("POST /oauth/token HTTP/1.1\r\nhost: zoom\r\n{BASIC}\r\n{FORM}\r\n");
        let request = format!("{head}content-length: 29\r\n\r\ngrant_type=client_credentials");
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 15];
        tls.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn plain_text_is_answered_at_the_control_endpoints_alone() {
    let zoom = encrypted().await;
    let (status, _, body) = zoom.ask("grant_type=client_credentials").await;
    assert!(status == 400 && body.contains("this port speaks TLS"), "{body}");
    assert_eq!(zoom.http("GET /_control/faults HTTP/1.1", "").await.2, "[]");
    assert_eq!(zoom.counts().token_requests, 0);
}

#[tokio::test]
async fn handshakes_that_fail_are_in_the_log() {
    let zoom = encrypted().await;
    let strangers = TlsConnector::from(Arc::new(crate::tls::client_config(None).unwrap()));
    let tcp = TcpStream::connect(zoom.addr()).await.unwrap();
    let error = strangers.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    zoom.logged(0).await;
    assert!(matches!(zoom.log(0).0[0].what, Happening::NoTls { .. }));

    let plain = Zoom::start().await;
    let tcp = TcpStream::connect(plain.addr()).await.unwrap();
    strangers.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap_err();
    plain.logged(0).await;
    let Happening::NoTls { reason } = &plain.log(0).0[0].what else { panic!("{:?}", plain.log(0)) };
    assert!(reason.contains("use http and ws"), "{reason}");
}

#[tokio::test]
async fn silence_begins_before_the_handshake() {
    let zoom = encrypted().await;
    zoom.fault(&["tcp-silent"]);
    let tcp = TcpStream::connect(zoom.addr()).await.unwrap();
    let connector = connector(&zoom);
    tokio::select! {
        _ = connector.connect(ServerName::try_from("localhost").unwrap(), tcp) => panic!("it was answered"),
        counts = zoom.wait_for(|counts| counts.held == 1) => assert_eq!(counts.refused, 0),
    }
    assert_eq!(zoom.http("GET /_control/faults HTTP/1.1", "").await.2, r#"["tcp-silent"]"#);
}
