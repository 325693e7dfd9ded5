//! The proof that nothing is lost: the real binary under every fault that a machine and a network have for it.
//!
//! Every test ends by closing the [`books`]: what the simulator wrote, what the spool holds and what the handlers took
//! must come to zero lost, and what `zoomhook status` says must agree. `ZOOMHOOK_LONG=1` asks for longer versions.

mod books;
mod clock;
mod disk;
mod faketime;
mod killed;
mod limits;
mod network;
mod proxy;
mod suspended;

use std::env;
use std::ffi::OsStr;
use std::process::Stdio;

use tokio::process::Command;

use crate::lab::{Bridge, Lab};

/// Tells whether the longer versions are asked for.
fn is_long() -> bool {
    env::var_os("ZOOMHOOK_LONG").is_some()
}

/// Starts a bridge through a program that ends in it, such as `prlimit`, with more variables, and waits until it is live.
async fn live_bridge_under(lab: &Lab, program: &[&str], variables: &[(&str, &OsStr)]) -> Bridge {
    lab.write_configuration(&names(lab));
    let mut command = lab.command(&["run"]);
    if let Some((outer, arguments)) = program.split_first() {
        let mut wrapped = Command::new(outer);
        let inner = command.as_std();
        wrapped.args(arguments).arg(inner.get_program()).args(inner.get_args()).env_clear();
        wrapped.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped.stdin(Stdio::null()).kill_on_drop(true);
        command = wrapped;
    }
    command.envs(variables.iter().copied());
    let bridge = Bridge::start(command).await;
    bridge.until_ready().await;
    bridge
}

fn names(lab: &Lab) -> Vec<&'static str> {
    lab.handlers.iter().map(|(name, _)| *name).collect()
}

/// Changes a limit of a running bridge.
fn limit(bridge: &Bridge, limit: &str) {
    let pid = bridge.pid().to_string();
    let set = std::process::Command::new("prlimit").args(["--pid", &pid, limit]).status().expect("prlimit runs");
    assert!(set.success(), "{limit}");
}

/// Skips a test for want of something with a word, or fails it where `CI` is set.
fn missing(what: &str) {
    assert!(env::var_os("CI").is_none(), "{what}");
    eprintln!("skipped: {what}");
}
