//! `man`: the manual, made from what `--help` says, so that the two cannot differ.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_mangen::{Man, generate_to};

use super::options::after;
use super::output::{print, print_bytes};
use super::{Cli, Failure};

/// Is the command line of `man`.
#[derive(Args, Debug)]
#[command(after_help = after(
    &["zoomhook man | man -l -", "sudo zoomhook man /usr/local/share/man/man1"],
    "0 done, 1 the pages cannot be written, 2 usage",
))]
pub(super) struct ManArgs {
    /// Write a page for each command to this folder, which is made if need be
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints the first page, or writes all of them to a folder.
///
/// # Errors
/// When they cannot be written.
pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    match &args.folder {
        None => print_bytes(&first_page()?)?,
        Some(folder) => {
            write(folder).with_context(|| format!("cannot write the manual to {}", folder.display()))?;
            print(&format!("the manual is in {}: man -l {}\n", folder.display(), folder.join("zoomhook.1").display()))?;
        }
    }
    Ok(())
}

fn first_page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    generate_to(Cli::command(), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder.path().join("man1")).expect("written");
        let page = |name: &str| fs::read_to_string(folder.path().join("man1").join(name)).expect(name);
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(page(&format!("zoomhook-{name}.1")).contains(".SH OPTIONS"), "{name}");
        }
        assert!(page("zoomhook-events-list.1").contains("Exit codes: "), "a page of the second level");
        assert_eq!(page("zoomhook.1").as_bytes(), first_page().expect("a page"));
    }
}
