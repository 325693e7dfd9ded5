//! Connections that were kept, and end: how a handler that closed an idle one is told apart from one that failed.

use super::tls::certificate;
use super::*;

#[tokio::test]
async fn kept_connection_that_ends_without_a_byte_of_an_answer_is_told_apart() {
    let acts = [Act::Answer(OK.into()), Act::AnswerAndClose(Vec::new()), Act::AnswerAndClose(Vec::new())];
    let mut handler = Handler::start(acts).await;
    let client = connected(&handler.destination()).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");

    let kept = client.clone().oneshot(outgoing()).await.expect_err("closed");
    assert!(matches!(kept, SendError::Stale(_)) && kept.cause() == Cause::Cut, "{kept:?}");
    let new = client.oneshot(outgoing()).await.expect_err("closed");
    assert!(matches!(new, SendError::Cut(_)), "a handler that closes upon a request has failed: {new:?}");
    for connection in [1, 1, 2] {
        assert_eq!(handler.requests.recv().await.expect("a request").connection, connection);
    }
    assert!(handler.requests.try_recv().is_err(), "the client repeats nothing by itself");
}

#[tokio::test]
async fn kept_connection_that_is_reset_under_the_request_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let resetting = destination(&format!("http://{}/", listener.local_addr().expect("an address")));
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        read_request(&mut socket).await.expect("a request");
        socket.write_all(OK).await.expect("it reads");
        // A socket that is closed with something unread in it sends a reset.
        socket.readable().await.expect("a second request");
        drop(socket);
        std::future::pending::<()>().await;
    });
    let client = connected(&resetting).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");
    let kept = client.oneshot(outgoing()).await.expect_err("reset");
    assert!(matches!(kept, SendError::Stale(_)), "{kept:?}");
}

#[tokio::test]
async fn kept_connection_that_ends_without_a_word_of_tls_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (acceptor, ca_file) = certificate(folder.path());
    let acts = [Act::Answer(OK.into()), Act::AnswerAndClose(Vec::new())];
    let handler = Handler::start_tls(acts, acceptor).await;
    let destination = destination(&format!("https://localhost:{}/hook", handler.addr.port()));
    let client = connected(&Destination { ca_file: Some(ca_file), ..destination }).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");
    let kept = client.oneshot(outgoing()).await.expect_err("closed");
    assert!(matches!(kept, SendError::Stale(_)), "{kept:?}");
}

#[tokio::test]
async fn kept_connection_that_ends_within_an_answer_is_cut() {
    let acts = [Act::Answer(OK.into()), Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok".into())];
    let handler = Handler::start(acts).await;
    let client = connected(&handler.destination()).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");
    assert!(matches!(client.oneshot(outgoing()).await, Err(SendError::Cut(_))));
}
