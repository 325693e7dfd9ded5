//! A bridge on the spool of a million events, and its admin port.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a bridge may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// Is a bridge that ends with its owner. It never has a socket, and its destinations are paused.
pub(crate) struct Bridge {
    child: Child,
    socket: PathBuf,
    /// Holds the socket.
    _directory: tempfile::TempDir,
}

/// Is what was answered.
pub(crate) struct Answer {
    /// Rows that were asked for.
    pub(crate) wanted: usize,
    /// Rows that came.
    pub(crate) found: usize,
    /// Where to go on.
    pub(crate) next: Option<String>,
}

impl Bridge {
    pub(crate) fn on(spool: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("admin.sock");
        let file = directory.path().join("zoomhook.toml");
        std::fs::write(&file, configuration(spool, &socket)).expect("written");
        let child = Command::new(env!("CARGO_BIN_EXE_zoomhook")).arg("run").arg("--config").arg(&file).spawn();
        let bridge = Self { child: child.expect("it starts"), socket, _directory: directory };
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(&bridge.socket).is_err() {
            assert!(Instant::now() < end, "the bridge does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        bridge
    }

    /// Sends a request on a connection of its own; returns how long it took, in milliseconds, and what came of it.
    pub(crate) fn ask(&self, request: &str) -> (f64, Answer) {
        let began = Instant::now();
        let mut stream = UnixStream::connect(&self.socket).expect("the bridge listens");
        write!(stream, "GET {request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let ms = began.elapsed().as_secs_f64() * 1e3;
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 200 "), "{request}: {text}");
        let document: Value = serde_json::from_str(body).expect("json");
        let rows = ["events", "dead", "gaps", "audit"].iter().find_map(|name| document[name].as_array());
        let next = &document["next"];
        let next = next.as_str().map(str::to_owned).or_else(|| next.as_u64().map(|number| number.to_string()));
        let limit = request
            .split_once("limit=")
            .map_or(100, |(_, rest)| rest.split('&').next().and_then(|limit| limit.parse().ok()).expect("a number"));
        // Groups are whole when all parts are there.
        let (wanted, found) = rows.map_or((usize::MAX, 0), |rows| (limit, rows.len()));
        (ms, Answer { wanted, found, next })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(spool: &Path, socket: &Path) -> String {
    let mut text = format!(
        r#"
[[subscription]]
url = "ws://127.0.0.1:9/ws?subscriptionId=benchmark"
token_url = "http://127.0.0.1:9/oauth/token"
account_id = "benchmark"
client_id = "benchmark"
client_secret = "benchmark"
[spool]
path = "{}"
retention = "8760h"
max_size = "100GiB"
[admin]
listen = "unix:{}"
[log]
level = "error"
"#,
        spool.display(),
        socket.display()
    );
    for name in super::spool::DESTINATIONS {
        text.push_str(&format!(
            "[[destination]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:9/\"\nsecret_token = \"benchmark\"\n"
        ));
    }
    text
}
