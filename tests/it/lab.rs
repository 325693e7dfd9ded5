//! A simulated Zoom, handlers, and the real binary between them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zoomhook::config::secret::Secret;
use zoomhook::simulator::{Options, Simulator};
use zoomhook::spool::record::{DeliveryState, EventQuery, EventRow, GapRow};
use zoomhook::spool::{View, open_view};

use crate::receiver::{Answer, Receiver};

const CLIENT_SECRET: &str = "canary-client-secret";
pub(crate) const SECRET_TOKEN: &str = "canary-secret-token";
pub(crate) const ADMIN_TOKEN: &str = "canary-admin-token";
pub(crate) const VIEWER_TOKEN: &str = "canary-viewer";
const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = { env = \"LAB_ADMIN_TOKEN\" }";
const PAYLOAD: &str = "canary-payload";
/// What no log, error, metric or answer may hold: secrets, payloads, and access tokens.
const CANARIES: [&str; 5] = [CLIENT_SECRET, SECRET_TOKEN, PAYLOAD, "access_token=", TOKEN];
/// How an access token begins. A name that chance made can hold it, but does not begin with it.
const TOKEN: &str = "eyJ";

pub(crate) struct Lab {
    pub(crate) directory: TempDir,
    pub(crate) zoom: Simulator,
    pub(crate) handlers: Vec<(&'static str, Receiver)>,
    /// Lines that tests add to the configuration of the subscription.
    pub(crate) subscription_lines: String,
    /// Lines that tests add to the configuration of each destination.
    pub(crate) destination_lines: String,
    /// Lines that tests add to the configuration of the spool.
    pub(crate) spool_lines: String,
    pub(crate) more_configuration: String,
    /// Takes the place of the usual section `[admin]`.
    pub(crate) admin_lines: Option<String>,
    _stop: tokio_util::sync::DropGuard,
}

impl Lab {
    /// Starts Zoom, and a handler for each name.
    pub(crate) async fn new(names: &[&'static str]) -> Self {
        Self::with(names, Options::default()).await
    }

    pub(crate) async fn with(names: &[&'static str], options: Options) -> Self {
        let options = Options { client_secret: Secret::new(CLIENT_SECRET), ..options };
        let zoom = Simulator::bind(options).await.expect("a free port");
        let stop = CancellationToken::new();
        let (running, token) = (zoom.clone(), stop.clone());
        tokio::spawn(async move { running.run(token).await });
        let mut handlers = Vec::new();
        for name in names {
            handlers.push((*name, Receiver::start(SECRET_TOKEN).await));
        }
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            zoom,
            handlers,
            subscription_lines: String::new(),
            destination_lines: String::new(),
            spool_lines: String::new(),
            more_configuration: String::new(),
            admin_lines: None,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn handler(&self, name: &str) -> &Receiver {
        &self.handlers.iter().find(|(known, _)| *known == name).expect("a handler").1
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.directory.path().join("spool/zoomhook.db")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("zoomhook.toml")
    }

    /// Writes the configuration file anew, with these destinations.
    pub(crate) fn write_configuration(&self, names: &[&str]) {
        let subscription = &self.zoom.options().subscriptions[0];
        let mut text = format!(
            r#"
[[subscription]]
name = "main"
url = "{}"
token_url = "{}"
account_id = "demo-account"
client_id = "demo-client"
client_secret = {{ env = "LAB_CLIENT_SECRET" }}
{}
[spool]
path = "{}"
{}
{}
[log]
level = "trace"
format = "json"
{}
"#,
            self.zoom.ws_url(subscription),
            self.zoom.token_url(),
            self.subscription_lines,
            self.spool().display(),
            self.spool_lines,
            self.admin_lines.as_deref().unwrap_or(ADMIN),
            self.more_configuration
        );
        for (name, handler) in self.handlers.iter().filter(|(name, _)| names.contains(name)) {
            text.push_str(&format!(
                "[[destination]]\nname = \"{name}\"\nurl = \"{}\"\nsecret_token = {{ env = \"LAB_SECRET_TOKEN\" }}\n{}\n",
                handler.url(),
                self.destination_lines
            ));
        }
        std::fs::write(self.file(), text).expect("written");
    }

    /// Starts a bridge to all handlers, and waits until its port is open.
    pub(crate) async fn bridge(&self) -> Bridge {
        let names: Vec<&str> = self.handlers.iter().map(|(name, _)| *name).collect();
        self.write_configuration(&names);
        Bridge::start(self.command(&["run"])).await
    }

    /// Starts a bridge, and waits until Zoom has accepted its socket.
    pub(crate) async fn live_bridge(&self) -> Bridge {
        let before = self.zoom.counts().accepted;
        let bridge = self.bridge().await;
        self.zoom.wait_for(|counts| counts.accepted > before).await;
        bridge.until_ready().await;
        bridge
    }

    /// Starts a bridge that viewers may look at, and lets it have one dead letter.
    pub(crate) async fn bridge_with_viewer_and_dead_letter(&self) -> Bridge {
        self.write_configuration(&["crm"]);
        let mut command = self.command(&["run"]);
        command.env("ZOOMHOOK_ADMIN_VIEWER_TOKEN", VIEWER_TOKEN);
        let bridge = Bridge::start(command).await;
        bridge.until_ready().await;
        self.handler("crm").answer(Answer::Status(404));
        self.zoom.push(&body(7)).await;
        bridge.until("/api/v1/dead", |_, text| text.contains("status 404")).await;
        bridge
    }

    /// Prepares a command line of the binary with the lab's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zoomhook"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.file())
            .env_clear()
            .env("LAB_CLIENT_SECRET", CLIENT_SECRET)
            .env("LAB_SECRET_TOKEN", SECRET_TOKEN)
            .env("LAB_ADMIN_TOKEN", ADMIN_TOKEN)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end, and returns its exit code and what it printed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().await.expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_no_canary(&err);
        (output.status.code().expect("an exit code"), out, err)
    }

    pub(crate) fn view(&self) -> Box<dyn View> {
        open_view(&self.spool()).expect("a spool")
    }

    /// Keeps the spool from being written, as a backup or a curious operator can, until it is dropped.
    pub(crate) fn hold_spool(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.spool()).expect("a spool");
        connection.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        connection
    }

    pub(crate) fn rows(&self) -> Vec<EventRow> {
        self.view().events(&EventQuery { limit: usize::MAX, ..EventQuery::default() }).expect("readable")
    }

    pub(crate) fn gaps(&self) -> Vec<GapRow> {
        self.view().gaps(usize::MAX).expect("readable")
    }

    /// Checks that what the spool accepted is, for each destination, taken by its handler or still kept.
    pub(crate) fn assert_nothing_forgotten(&self) {
        let mut view = self.view();
        for row in self.rows() {
            let body = view.event(row.id).expect("readable").expect("stored").body;
            for delivery in row.deliveries {
                let handler = self.handler(&delivery.destination);
                match delivery.state {
                    DeliveryState::Delivered => assert!(handler.has(&body), "event {} was not delivered", row.id),
                    DeliveryState::Fresh | DeliveryState::Retry | DeliveryState::Dead => {}
                }
            }
        }
    }
}

/// Makes a body that no other event has.
pub(crate) fn body(number: usize) -> String {
    format!(
        r#"{{"event":"meeting.started","payload":{{"account_id":"A","object":{{"id":"{number}","topic":"{PAYLOAD} Überblick 🚀"}}}},"event_ts":1785369357392}}"#
    )
}

/// Writes a file that nobody else may read, as those of secrets have to be.
pub(crate) fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("set");
}

pub(crate) fn bodies(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(body).collect()
}

/// Returns every body of `fixtures/events`.
pub(crate) fn corpus() -> Vec<String> {
    let mut bodies = Vec::new();
    for family in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/events")).expect("the corpus") {
        for file in std::fs::read_dir(family.expect("a folder").path()).expect("a folder") {
            let path = file.expect("a file").path();
            bodies.push(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    bodies
}

/// Is a running bridge; all that it writes is kept.
pub(crate) struct Bridge {
    child: Child,
    log: Arc<Mutex<String>>,
    lines: watch::Receiver<usize>,
    pub(crate) admin: SocketAddr,
    http: reqwest::Client,
}

impl Bridge {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (count, mut lines) = watch::channel(0);
        let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        let sink = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                let mut log = sink.lock().expect("no panic");
                log.push_str(&line);
                log.push('\n');
                count.send_modify(|count| *count += 1);
            }
        });
        let admin = loop {
            if let Some(address) = admin_address(&log.lock().expect("no panic")) {
                break address;
            }
            if lines.changed().await.is_err() {
                panic!("the bridge did not start:\n{}", log.lock().expect("no panic"));
            }
        };
        Self { child, log, lines, admin, http: client() }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// Waits until a line of the log contains this.
    pub(crate) async fn logged(&self, text: &str) {
        let mut lines = self.lines.clone();
        while !self.log().contains(text) {
            if lines.changed().await.is_err() {
                panic!("the bridge ended without saying {text:?}:\n{}", self.log());
            }
        }
    }

    /// Asks the admin port, and returns the status and the text of the answer.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let response = self.http.get(url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.text().await.expect("text"))
    }

    pub(crate) async fn post(&self, path: &str, document: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.admin);
        let response = self.http.post(url).bearer_auth(ADMIN_TOKEN).json(document).send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("json"))
    }

    pub(crate) async fn put(&self, path: &str, document: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.admin);
        let response = self.http.put(url).bearer_auth(ADMIN_TOKEN).json(document).send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("json"))
    }

    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status").await.1).expect("json")
    }

    pub(crate) async fn until_ready(&self) {
        self.until("/readyz", |status, _| status == 200).await;
    }

    /// Asks again and again until the answer is so; the test runner ends a test that never gets there.
    pub(crate) async fn until(&self, path: &str, so: impl Fn(u16, &str) -> bool) {
        loop {
            let (status, text) = self.get(path).await;
            if so(status, &text) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("running")
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Returns the most memory that it ever held.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let pid = self.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the figure");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
    }

    /// Ends it without a warning.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("running");
        assert_no_canary(&self.log());
    }

    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().await.expect("running");
        // The reader of the log ends when the pipe does.
        while self.lines.changed().await.is_ok() {}
        let log = self.log();
        assert_no_canary(&log);
        (status, log)
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) -> String {
        let (_, metrics) = self.get("/metrics").await;
        assert_no_canary(&metrics);
        assert_no_canary(&self.status().await.to_string());
        self.signal("TERM");
        let (status, log) = self.ended().await;
        assert!(status.success(), "{status}\n{log}");
        log
    }
}

/// Makes a client that asks no proxy.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(zoomhook::tls::client_config(None).expect("roots"))
        .no_proxy()
        .build()
        .expect("a client")
}

fn admin_address(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("the admin port is open"))?;
    let line: Value = serde_json::from_str(line).expect("a log line is json");
    let fields = [&line, &line["fields"]];
    fields.iter().find_map(|place| place["address"].as_str())?.parse().ok()
}

pub(crate) fn assert_no_canary(text: &str) {
    for canary in CANARIES.iter().chain([&ADMIN_TOKEN]).copied() {
        let leaks = |line: &str, at| canary != TOKEN || !line[..at].ends_with(char::is_alphanumeric);
        let line = text.lines().find(|line| line.match_indices(canary).any(|(at, _)| leaks(line, at)));
        assert!(line.is_none(), "{canary} leaks: {}", line.unwrap_or_default());
    }
}

pub(crate) fn bytes(texts: &[String]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from(text.clone())).collect()
}
