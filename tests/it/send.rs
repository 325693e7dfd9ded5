//! What an operator learns of a handler, without a bridge: is it right, and if not, why.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};
use zoomhook::config::secret::Secret;
use zoomhook::simulator::handler::verification::Rejection;
use zoomhook::simulator::handler::{Answer, Handler, Options};

const SECRET: &str = "canary-secret-token";

#[tokio::test]
async fn good_handler_takes_a_fresh_sample_with_the_field_that_was_set() {
    let sample = Sample::start().await;
    let (code, out, err) = sample.send(&["meeting.started", "--set", "payload.object.topic=Über 5"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("status 200") && out.contains("zoomhook  delivered") && out.contains("OK"), "{out}");
    let (deliveries, _) = sample.handler.deliveries(0);
    assert_eq!(deliveries.len(), 1);
    assert_eq!((&*deliveries[0].event, deliveries[0].verified), ("meeting.started", Ok(())));
    assert!(deliveries[0].event_ts > Some(1_785_369_419_181), "it happens now");
    assert!(err.is_empty(), "{err}");
    let (code, _, err) = sample.send(&["meeting.started", "--set", "payload.objekt.topic=x"]).await;
    assert_eq!((code, &*err), (0, "warning: --set: meeting.started has no field payload.objekt: it is added\n"));
}

#[tokio::test]
async fn whole_corpus_is_taken_and_told_in_one_document() {
    let sample = Sample::start().await;
    let (code, out, err) = sample.send(&["--all", "--json"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let document: Value = serde_json::from_str(&out).expect("json");
    let sent = document["sent"].as_array().expect("a list");
    assert!(sent.len() >= 120 && sent.iter().all(|one| one["good"] == true), "{document:#}");
    assert_eq!(sample.handler.deliveries(0).0.len(), sent.len());
    let (code, out, _) = sample.send(&["--all"]).await;
    assert!(code == 0 && out.contains(&format!("{0} of {0} times", sent.len())), "{out}");
}

#[tokio::test]
async fn file_is_sent_byte_for_byte() {
    let sample = Sample::start().await;
    let body = "{ \"event\" : \"e\",\r\n\"a\":1e3 }\n";
    let mut command = sample.command(&["--file", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(body.as_bytes()).await.expect("it reads");
    drop(stdin);
    assert!(child.wait_with_output().await.expect("it ends").status.success());
    let (deliveries, _) = sample.handler.deliveries(0);
    assert_eq!(deliveries[0].digest, zoomhook::event::Digest::of(body.as_bytes()));
}

#[tokio::test]
async fn repeats_share_their_request_id() {
    let sample = Sample::start().await;
    let (code, out, err) = sample.send(&["meeting.ended", "--repeat", "3"]).await;
    assert!(code == 0 && out.contains("3 of 3 times") && out.contains("done once"), "{out}{err}");
    let (deliveries, _) = sample.handler.deliveries(0);
    assert_eq!(deliveries.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(deliveries.iter().all(|delivery| delivery.digest == deliveries[0].digest));
}

#[tokio::test]
async fn good_handler_refuses_what_is_forged_or_stale() {
    let sample = Sample::start().await;
    let cases = [(&["--bad-signature"][..], Rejection::Forged), (&["--stale", "600"], Rejection::Stale)];
    for (seen, (arguments, rejection)) in cases.into_iter().enumerate() {
        let (code, out, err) = sample.send(&[&["meeting.started"], arguments].concat()).await;
        assert!(code == 0 && out.contains("status 401"), "{out}{err}");
        assert_eq!(sample.handler.deliveries(0).0[seen].verified, Err(rejection));
    }
    let (code, out, _) = sample.send(&["meeting.started", "--stale", "60"]).await;
    assert_eq!(code, 0, "a minute is not stale: {out}");
}

#[tokio::test]
async fn handler_that_takes_everything_is_said_to_do_so_loudly() {
    let credulous = answering("204 No Content").await;
    for (arguments, words) in [
        (&["meeting.started", "--bad-signature"][..], "ACCEPTS A WRONG SIGNATURE"),
        (&["meeting.started", "--stale", "600"], "ACCEPTS a request that is 600 s old"),
        (&["--url-validation"], "status 204, expected 200"),
    ] {
        let (code, out, err) = run(&mut command(&credulous, arguments)).await;
        assert!(code == 1 && out.contains(words) && out.contains("NOT OK"), "{out}{err}");
    }
    let (code, out, _) = run(&mut command(&credulous, &["meeting.started"])).await;
    assert_eq!(code, 0, "{out}");
}

#[tokio::test]
async fn failures_are_explained() {
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        format!("http://{}/", listener.local_addr().expect("bound"))
    };
    let quoting = format!("500 Internal Server Error\r\nx-a: b\r\ncontent-length: {}", SECRET.len());
    for (url, words) in [
        (answering("404 Not Found").await, &["status 404", "path of --to", "dead at once"][..]),
        (answering("308 Permanent Redirect\r\nlocation: /elsewhere").await, &["never followed"]),
        (answering("401 Unauthorized").await, &["zoomhook verify"]),
        (answering("503 Service Unavailable").await, &["tried again in 1 s", "tried again in 5 min"]),
        (answering_with(&quoting, SECRET).await, &["it says   ***"]),
        (refused, &["connection refused", "nothing listens"]),
    ] {
        let (code, out, err) = run(&mut command(&url, &["meeting.started"])).await;
        assert_eq!(code, 1, "{out}{err}");
        assert!(words.iter().all(|word| out.contains(word)), "{words:?}: {out}");
    }
}

#[tokio::test]
async fn nobody_there_cuts_the_corpus_short() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    let (code, out, _) = run(&mut command(&url, &["--all", "--json"])).await;
    let document: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, document["sent"].as_array().map(Vec::len), &document["good"]), (1, Some(3), &Value::Bool(false)));
}

#[tokio::test]
async fn hanging_handler_is_a_timeout() {
    let sample = Sample::start().await;
    sample.handler.answer_always(Answer::Hang);
    let (code, out, _) = sample.send(&["meeting.started", "--timeout", "100ms"]).await;
    assert!(code == 1 && out.contains("timeout"), "{out}");
}

#[tokio::test]
async fn url_validation_tells_whether_the_secret_is_shared() {
    let sample = Sample::start().await;
    let (code, out, err) = sample.send(&["--url-validation"]).await;
    assert!(code == 0 && out.contains("passes its probe"), "{out}{err}");
    let (code, out, _) = run(sample.command(&["--url-validation"]).env("ZOOM_WEBHOOK_SECRET_TOKEN", "another")).await;
    assert!(code == 1 && out.contains("401"), "it refuses the signature already: {out}");
    let wrong = r#"{"plainToken":"x","encryptedToken":"y"}"#;
    let url = answering_with(&format!("200 OK\r\ncontent-length: {}", wrong.len()), wrong).await;
    let (code, out, _) = run(&mut command(&url, &["--url-validation"])).await;
    assert!(code == 1 && out.contains("another `plainToken`"), "{out}");
}

#[tokio::test]
async fn usage_is_refused_with_code_2() {
    let url = "http://127.0.0.1:9/";
    for (arguments, words) in [
        (&["meeting.strated"][..], "did you mean `meeting.started`"),
        (&["meeting.started", "--set", "payload.account_id.x=1"], "`payload.account_id` is neither"),
        (&["meeting.started", "--secret-env", "NO_SUCH_NAME"], "NO_SUCH_NAME is not set"),
    ] {
        let (code, out, err) = run(&mut command(url, arguments)).await;
        assert!(code == 2 && out.is_empty() && err.contains(words), "{arguments:?}: {out}{err}");
    }
    // What is understood and not there is a fault at run time, whatever file it is.
    for arguments in [
        &["meeting.started", "--secret-file", "/nonexistent"][..],
        &["--file", "/nonexistent"],
        &["meeting.started", "--ca-file", "/nonexistent"],
    ] {
        let (code, out, err) = run(&mut command(url, arguments)).await;
        assert!(code == 1 && out.is_empty() && err.contains("/nonexistent"), "{arguments:?}: {out}{err}");
    }
}

#[tokio::test]
async fn file_that_zoom_would_never_send_is_not_the_handlers_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let refusing = answering("400 Bad Request").await;
    for (content, words) in [("", "the file is empty: "), ("no json", "no JSON"), ("{}", "JSON without an event")] {
        let file = folder.path().join("body");
        std::fs::write(&file, content).expect("written");
        let file = file.display().to_string();
        let (code, out, err) = run(&mut command(&refusing, &["--file", &file])).await;
        assert!(code == 0 && out.contains(words) && !out.contains("cannot make sense"), "{out}{err}");
    }
}

#[tokio::test]
async fn list_names_every_sample_and_needs_no_handler() {
    let (code, out, err) = run(binary().args(["send", "--list"])).await;
    assert!(code == 0 && out.contains("meeting.started") && out.contains("minus_zero"), "{out}{err}");
}

#[tokio::test]
async fn verify_says_what_is_wrong_with_a_signature() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_string_lossy().into_owned()
    };
    let body = r#"{"event":"e","payload":{"topic":"Über"}}"#;
    let signer = zoomhook::webhook::signature::Signer::new(&Secret::new(SECRET));
    let signature = signer.sign("1785368934", body.as_bytes());
    let head = format!("POST / HTTP/1.1\r\nX-Zm-Signature: {signature}\r\nX-Zm-Request-Timestamp: 1785368934\r\n\r\n");
    let (headers, right) = (file("headers", &head), file("right", body));
    let spaced = file("spaced", r#"{"event": "e", "payload": {"topic": "\u00dcber"}}"#);

    let line = ["verify", "--signature", &signature, "--timestamp", "1785368934", "--body"];
    let (code, out, err) = run(binary().args(line).arg(&right)).await;
    assert!(code == 0 && out.starts_with("OK") && out.contains(" old: "), "right, and old: {out}{err}");
    let (code, out, _) = run(binary().args(line).arg(&spaced)).await;
    assert!(code == 1 && out.contains("JSON.stringify") && out.contains("raw bytes"), "{out}");
    let (code, out, _) = run(binary().args(["verify", "--headers", &headers, "--body", &spaced, "--json"])).await;
    let document: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &document["right"]), (1, &Value::Bool(false)), "{document}");
    assert!(document["fits"][0].as_str().is_some_and(|text| text.contains("JSON.stringify")), "{document}");

    let another = run(binary().args(line).arg(&right).env("ZOOM_WEBHOOK_SECRET_TOKEN", "another")).await;
    assert!(another.0 == 1 && another.1.contains("another secret token"), "{}", another.1);
    let no_time = ["verify", "--signature", &signature, "--timestamp", "now", "--body", &right];
    let (code, out, _) = run(binary().args(no_time)).await;
    assert!(code == 1 && out.contains("the text of the header x-zm-request-timestamp"), "{out}");
    assert!(!out.contains("another secret token"), "{out}");
    let (code, _, err) = run(binary().args(["verify", "--headers", &right, "--body", &right])).await;
    assert!(code == 2 && err.contains("there is no x-zm-signature"), "{err}");
}

/// Runs a sample handler for one test.
struct Sample {
    handler: Handler,
    _stop: DropGuard,
}

impl Sample {
    async fn start() -> Self {
        let handler = Handler::bind(Options { secret: Secret::new(SECRET), ..Options::default() }).await;
        let (handler, stop) = (handler.expect("a free port"), CancellationToken::new());
        let (running, token) = (handler.clone(), stop.clone());
        tokio::spawn(async move { running.run(token).await });
        Self { handler, _stop: stop.drop_guard() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(self.handler.url().as_str(), arguments)
    }

    async fn send(&self, arguments: &[&str]) -> (i32, String, String) {
        run(&mut self.command(arguments)).await
    }
}

/// Starts a handler that looks at nothing and answers everything with this status and these headers.
async fn answering(head: &str) -> String {
    answering_with(&format!("{head}\r\ncontent-length: 0"), "").await
}

async fn answering_with(head: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/webhook", listener.local_addr().expect("bound"));
    let answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.expect("it listens");
        }
    });
    url
}

/// Reads a request to its end, as a connection that is closed with unread bytes is reset.
async fn read_request(stream: &mut tokio::net::TcpStream) {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).await.expect("text") > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length]).await.expect("a body");
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = binary();
    command.arg("send").args(arguments).args(["--to", url]);
    command
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoomhook"));
    command.env_clear().env("ZOOM_WEBHOOK_SECRET_TOKEN", SECRET);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command to its end, and returns its exit code and what it printed, which never holds the secret.
async fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().await.expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!out.contains(SECRET) && !err.contains(SECRET), "the secret leaks: {out}{err}");
    (output.status.code().expect("an exit code"), out, err)
}
