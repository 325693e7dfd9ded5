//! The OpenAPI document is what the port does: a real schemathesis, which knows nothing else of it, finds no answer that
//! the document does not have.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::lab::{ADMIN_TOKEN, Bridge, Lab, VIEWER_TOKEN, bodies, client};
use crate::readme::{self, root};
use crate::receiver::Answer;

const DOCUMENT: &str = "/api/v1/openapi.json";
/// Answers as long as somebody listens, so it is asked by hand.
const ENDLESS: &str = "/api/v1/stream";

#[tokio::test]
async fn no_request_that_schemathesis_makes_for_an_operator_gets_an_answer_that_is_not_documented() {
    drive("no_request_that_schemathesis_makes_for_an_operator", ADMIN_TOKEN).await;
}

#[tokio::test]
async fn no_request_that_schemathesis_makes_for_a_viewer_gets_an_answer_that_is_not_documented() {
    drive("no_request_that_schemathesis_makes_for_a_viewer", VIEWER_TOKEN).await;
}

#[tokio::test]
async fn stream_and_what_it_says_are_as_documented() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let document = document(&bridge).await;
    let answer = &document["paths"][ENDLESS]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"];
    let name = answer["contentSchema"]["$ref"].as_str().and_then(|path| path.rsplit('/').next()).expect("a schema");
    let members = &document["components"]["schemas"][name]["required"];
    let url = format!("http://{}{ENDLESS}", bridge.admin);
    let mut stream = client().get(&url).bearer_auth(VIEWER_TOKEN).send().await.expect("an answer");
    assert_eq!(stream.status(), 401, "this bridge has no viewers");
    stream = client().get(&url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk = stream.chunk().await.expect("it goes on").expect("more");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    let snapshot: Value = serde_json::from_str(data).expect("json");
    let told: BTreeSet<&String> = snapshot.as_object().expect("an object").keys().collect();
    let documented: BTreeSet<&str> = members.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(told.iter().map(|name| name.as_str()).eq(documented), "{snapshot:#}");
    bridge.stop().await;
}

#[tokio::test]
async fn readme_has_every_operation_and_no_other() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let document = document(&bridge).await;
    let section = readme::section("## Admin port");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let mut told: BTreeSet<String> =
        rows.flat_map(|cell| cell.split(", ")).map(|request| request.trim_matches('`').to_owned()).collect();
    assert!(told.remove("GET /"), "the console, which is a page for people");
    assert_eq!(told, operations(&document));
    bridge.stop().await;
}

/// Has schemathesis try all that it knows on a bridge that has something of everything.
async fn drive(test: &str, token: &str) {
    let tools = root().join("target/schemathesis/bin");
    if !tools.join("schemathesis").exists() {
        assert!(std::env::var_os("CI").is_none(), "no schemathesis in {}: tests/run makes it", tools.display());
        eprintln!("skipped: {test}: no schemathesis in {}: tests/run makes it", tools.display());
        return;
    }
    let lab = Lab::new(&["crm", "gone"]).await;
    let bridge = eventful(&lab).await;
    let (_, text) = bridge.get(DOCUMENT).await;
    let file = lab.directory.path().join("openapi.json");
    std::fs::write(&file, &text).expect("written");
    let mut valid = Command::new(tools.join("python"));
    valid.args(["-c", "import schemathesis, sys; schemathesis.openapi.from_path(sys.argv[1]).validate()"]);
    said(valid.arg(&file)).await.unwrap_or_else(|said| panic!("the document is not valid:\n{said}"));
    // It is given the file, for it does not try the address that it had a document from.
    let mut schemathesis = Command::new(tools.join("schemathesis"));
    schemathesis
        .arg("--config-file")
        .arg(root().join("tests/it/schemathesis.toml"))
        .arg("run")
        .arg(&file)
        .args(["--url", &format!("http://{}", bridge.admin), "--exclude-path", ENDLESS, "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .current_dir(lab.directory.path())
        .env("NO_PROXY", "*");
    let said = said(&mut schemathesis).await;
    let said = said.unwrap_or_else(|said| panic!("{said}\n{}", tail(&bridge.log())));
    let count = operations(&serde_json::from_str(&text).expect("json")).len();
    let all = format!("Selected: {}/{count}\n", count - 1);
    assert!(said.contains(&all), "not all but the stream were tried: {all}\n{said}");
    assert!(said.contains(&format!("Tested: {}\n", count - 1)), "{said}");
    bridge.stop().await;
}

/// Runs a command to its end, and returns what it said; as an error when it failed.
async fn said(command: &mut Command) -> Result<String, String> {
    let output = command.kill_on_drop(true).output().await.expect("it starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Starts a bridge that has deliveries of every state, a gap, a parked frame, an orphan and rows of its audit table.
async fn eventful(lab: &Lab) -> Bridge {
    lab.write_configuration(&["crm", "gone"]);
    let mut command = lab.command(&["run"]);
    command.env("ZOOMHOOK_ADMIN_VIEWER_TOKEN", VIEWER_TOKEN);
    let bridge = Bridge::start(command).await;
    bridge.until_ready().await;
    lab.handler("gone").answer(Answer::Status(503));
    lab.zoom.push_all(&bodies(0..5)).await;
    lab.handler("crm").has_taken(5).await;
    lab.handler("crm").answer(Answer::Status(404));
    lab.zoom.push_all(&bodies(5..10)).await;
    lab.zoom.push("no json").await;
    bridge.until("/api/v1/dead?destination=crm", |_, text| text.matches("status 404").count() == 5).await;
    bridge.until("/api/v1/events?parked=true", |_, text| text.contains("\"parked\":\"")).await;
    lab.write_configuration(&["crm"]);
    assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    lab.zoom.drop_sockets("reset".parse().expect("a cut"));
    bridge.until("/api/v1/gaps", |_, text| text.contains("\"closed_at\":\"")).await;
    bridge.until_ready().await;
    bridge
}

async fn document(bridge: &Bridge) -> Value {
    let (status, text) = bridge.get(DOCUMENT).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("json")
}

/// Returns method and path of each operation.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("operations").keys();
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// Returns the last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("\"TRACE\"")).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
