//! A real Chromium without a screen, driven by the WebDriver protocol.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, io};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long anything may take on a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often the driver is started before that is given up.
const STARTS: usize = 10;
/// The name under which WebDriver hands elements out.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";

/// Is a browser with one tab; it ends with the value.
pub(crate) struct Browser {
    _driver: Child,
    chromium: u64,
    session: String,
    http: reqwest::Client,
    _profile: TempDir,
}

impl Browser {
    /// Starts one. Where there is none, the test that calls is skipped with a word, and fails where `CI` is set.
    pub(crate) async fn start() -> Option<Self> {
        let (driver, port) = match start_driver().await {
            Ok(started) => started,
            Err(error) => return missing(&format!("chromedriver cannot be started: {error}")),
        };
        let profile = tempfile::tempdir().expect("a directory");
        let arguments = [
            "--headless=new",
            // Those who test are often root in a container, where Chromium's sandbox cannot be made.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let http = crate::lab::client();
        let url = format!("http://127.0.0.1:{port}/session");
        let session = match send(http.post(&url).json(&wanted)).await {
            Ok(session) => session,
            Err(error) => return missing(&format!("Chromium cannot be started: {error}")),
        };
        let id = session["sessionId"].as_str().expect("an id");
        let chromium = session["capabilities"]["goog:processID"].as_u64().expect("the browser's process");
        Some(Self { _driver: driver, chromium, session: format!("{url}/{id}"), http, _profile: profile })
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let sent = send(self.http.post(format!("{}/{command}", self.session)).json(&body)).await;
        sent.unwrap_or_else(|error| panic!("{command} {body}: {error}"))
    }

    pub(crate) async fn go(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// Runs the body of a function in the page.
    pub(crate) async fn js(&self, script: &str) -> Value {
        self.js_with(script, json!([])).await
    }

    pub(crate) async fn js_with(&self, script: &str, arguments: Value) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": arguments })).await
    }

    /// Runs the body of an async function in the page, and waits for what it returns.
    pub(crate) async fn js_async(&self, script: &str) -> Value {
        let script =
            format!("const done = arguments[0]; (async () => {{ {script} }})().then(done, (e) => done(`${{e}}`))");
        self.post("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.js(&format!("return Boolean({expression})")).await != json!(true) {
            if Instant::now() > end {
                let page = self.js("return `${location.href}\n${document.body.innerText}`").await;
                panic!("never true: {expression}\n{}", page.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Waits until the page shows a text.
    pub(crate) async fn shows(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Clicks an element as a person does, once it is there: it must be visible, and nothing may lie over it.
    pub(crate) async fn click(&self, css: &str) {
        self.until(&format!("document.querySelector({0}) && !document.querySelector({0}).disabled", json!(css))).await;
        let element = self.find(css).await;
        self.post(&format!("element/{element}/click"), json!({})).await;
    }

    /// Types into an element after what it holds already.
    pub(crate) async fn write(&self, css: &str, text: &str) {
        self.until(&format!("document.querySelector({})", json!(css))).await;
        let element = self.find(css).await;
        self.post(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    async fn find(&self, css: &str) -> String {
        let found = self.post("element", json!({ "using": "css selector", "value": css })).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let press = |key: char| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.chars().flat_map(press).collect();
        self.post("actions", json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] })).await;
    }

    /// Makes the window so wide, and the colours light or dark.
    pub(crate) async fn look(&self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.cdp("Emulation.setEmulatedMedia", scheme).await;
    }

    async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Writes a picture of the whole page to `target/screenshots`.
    pub(crate) async fn picture(&self, name: &str) {
        let size = self.cdp("Page.getLayoutMetrics", json!({})).await["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let options = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken = self.cdp("Page.captureScreenshot", options).await;
        let png = BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base 64");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("{name}.png")), png).expect("written");
    }

    /// Returns what the browser complained of since it was last asked: errors, and breaches of the page's policy.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().expect("a list").clone();
        let severe = entries.into_iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Lets axe-core look at the page, and returns the serious and critical faults that it finds.
    pub(crate) async fn faults(&self, axe: &str) -> Vec<String> {
        self.js(&format!("if (!window.axe) {{ {axe} }}")).await;
        let found = self
            .js_async(
                "const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
                 return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
                   .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' | ')}`);",
            )
            .await;
        let found = found.as_array().unwrap_or_else(|| panic!("axe failed: {found}")).clone();
        found.iter().map(|fault| fault.as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium outlives a driver that is killed.
        let _ = std::process::Command::new("kill").args(["-KILL", &self.chromium.to_string()]).status();
    }
}

/// Returns the source of axe-core, which `tests/run` fetches. Where it is not, the test that calls is skipped with a
/// word, and fails where `CI` is set.
pub(crate) fn axe() -> Option<String> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/it/node_modules/axe-core/axe.min.js"].iter().collect();
    fs::read_to_string(&path).map_or_else(|error| missing(&format!("{}: {error}", path.display())), Some)
}

/// Starts the driver on a free port. It takes one for each IP version, the same number, and ends when somebody else
/// has the second: then it is started again.
async fn start_driver() -> io::Result<(Child, String)> {
    for _ in 0..STARTS {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut driver = command.spawn()?;
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                let port = port.trim_end_matches('.').to_owned();
                // What it says later is read by nobody, and must not stop it.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok((driver, port));
            }
        }
    }
    Err(io::Error::other(format!("it ended {STARTS} times without saying where it listens")))
}

fn missing<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("skipped: {what}");
    None
}

async fn send(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status();
    let mut answer: Value = response.json().await.map_err(|error| error.to_string())?;
    let value = answer["value"].take();
    if status.is_success() { Ok(value) } else { Err(format!("{}: {}", value["error"], value["message"])) }
}
