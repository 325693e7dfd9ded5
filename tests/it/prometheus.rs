//! A real Prometheus that scrapes a bridge.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::lab::{self, ADMIN_TOKEN};

/// Says that a tool is missing: the test that calls is skipped with a word, and fails where `CI` is set.
pub(crate) fn missing<T>(tool: &str, error: &std::io::Error) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{tool} cannot be started: {error}");
    eprintln!("skipped: {tool} cannot be started: {error}");
    None
}

/// Is a running Prometheus; it ends with the value.
pub(crate) struct Prometheus {
    child: Child,
    api: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts one with these rules, on a port that the system chooses and with its data in this directory.
    pub(crate) async fn start(directory: &Path, bridge: SocketAddr, rules: &Path) -> Option<Self> {
        let (config, token) = (directory.join("prometheus.yml"), directory.join("token"));
        fs::write(&token, ADMIN_TOKEN).expect("written");
        let text = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms }}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n\
             - job_name: zoomhook\n  \
               static_configs: [{{ targets: [\"{bridge}\"] }}]\n  \
               authorization: {{ credentials_file: \"{}\" }}\n",
            rules.display(),
            token.display(),
        );
        fs::write(&config, text).expect("written");
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => return missing("prometheus", &error),
        };
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = lines.next_line().await.expect("text") else { panic!("it does not start:\n{said}") };
            // The one line that has the port which was chosen.
            let listening = line.contains("Listening on").then(|| line.split("address=").nth(1)).flatten();
            if let Some(address) = listening {
                break address.split_whitespace().next().unwrap_or_default().to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // A pipe that nobody empties would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { child, api: format!("http://{address}/api/v1/query"), http: lab::client() })
    }

    /// Asks, and returns the samples that it finds, or what is wrong with the question.
    pub(crate) async fn ask(&self, expression: &str) -> Result<Vec<Value>, String> {
        let mut url: reqwest::Url = self.api.parse().expect("a URL");
        url.query_pairs_mut().append_pair("query", expression);
        let answer = self.http.get(url).send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let document: Value = serde_json::from_str(&text).map_err(|_| text.clone())?;
        let found = document["data"]["result"].as_array().filter(|_| document["status"] == "success");
        found.cloned().ok_or(text)
    }

    /// Asks again and again until it finds so many; the test runner ends a test that never gets there.
    pub(crate) async fn until(&self, expression: &str, so: impl Fn(usize) -> bool) {
        // Until it is ready, it answers with an error.
        while !self.ask(expression).await.is_ok_and(|found| so(found.len())) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends it.
    pub(crate) async fn end(mut self) {
        self.child.kill().await.expect("running");
    }
}
