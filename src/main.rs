//! The program: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use zoomhook::cli::{self, Cli};

fn main() -> ExitCode {
    // Before anything that could hold a secret.
    let guarded = cli::guard_memory();
    let arguments = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ready = guarded.and(runtime).map_err(cli::Failure::from);
    let outcome = ready.and_then(|runtime| runtime.block_on(cli::run(arguments)));
    outcome.unwrap_or_else(|failure| failure.report(&mut anstream::stderr()))
}
