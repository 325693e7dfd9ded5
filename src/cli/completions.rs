//! `completions`: what a shell needs to complete command lines.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};

use super::options::after;
use super::output::print_bytes;
use super::{Cli, Failure};

/// Is the command line of `completions`.
#[derive(Args, Debug)]
#[command(after_help = after(
    &[
        "source <(zoomhook completions bash)              # in ~/.bashrc",
        "zoomhook completions zsh > ~/.zfunc/_zoomhook    # with ~/.zfunc in fpath",
        "zoomhook completions fish > ~/.config/fish/completions/zoomhook.fish",
    ],
    "0 done, 2 usage",
))]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script of a shell.
///
/// # Errors
/// When stdout is closed.
pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    Ok(print_bytes(&script(args.shell))?)
}

fn script(shell: Shell) -> Vec<u8> {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    match shell {
        Shell::Bash => generate(Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(Zsh, &mut command, name, &mut script),
        Shell::Fish => generate(Fish, &mut command, name, &mut script),
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).expect("text");
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?} does not know {}", command.get_name());
            }
        }
    }
}
