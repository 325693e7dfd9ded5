//! The configuration of a bridge that is measured: nothing that matters is changed.

use std::fmt::Write as _;
use std::path::Path;

use crate::cases::Case;
use crate::receiver::Handler;
use crate::zoom::kind;

/// Writes it.
pub(crate) fn configuration(spool: &Path, zoom_port: &str, admin_port: u16, urls: &str, case: &Case) -> String {
    let mut text = format!(
        r#"
[[subscription]]
url = "ws://127.0.0.1:{zoom_port}/ws?subscriptionId=benchmark"
token_url = "http://127.0.0.1:{zoom_port}/oauth/token"
account_id = "benchmark"
client_id = "benchmark"
client_secret = "benchmark"
[spool]
path = "{}"
{}[admin]
listen = "127.0.0.1:{admin_port}"
[log]
level = "error"
"#,
        spool.display(),
        case.spool
    );
    for (number, (url, handler)) in urls.split(' ').zip(&case.handlers).enumerate() {
        let head =
            format!("[[destination]]\nname = \"handler-{number}\"\nurl = \"{url}\"\nsecret_token = \"benchmark\"\n");
        text.push_str(&head);
        if case.kinds > 1 {
            writeln!(text, "events = [{:?}]", kind(number as u64, case.kinds)).expect("a string takes all");
        }
        if *handler == Handler::Refusing {
            // What is refused is due again all the time.
            writeln!(text, "retry = {:?}", ["1s"; 100]).expect("a string takes all");
        }
    }
    text
}
