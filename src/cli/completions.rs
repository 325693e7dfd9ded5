//! `completions`: what a shell needs to complete command lines.

use clap::{Arg, Args, Command, CommandFactory as _, ValueEnum, ValueHint};
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

/// What the script for fish does not say by itself: no files but where a path is meant, and words that are no options.
const FISH: &str = "complete -c zoomhook -f
complete -c zoomhook -n '__fish_seen_subcommand_from completions' -a 'bash zsh fish'
complete -c zoomhook -n '__fish_seen_subcommand_from man' -F
";

/// Names of values that are paths.
const PATHS: [&str; 3] = ["PATH", "FILE", "FOLDER"];

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
    let (mut command, mut script) = (hinted(Cli::command()), Vec::new());
    let name = command.get_name().to_owned();
    match shell {
        Shell::Bash => generate(Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(Zsh, &mut command, name, &mut script),
        Shell::Fish => {
            script.extend_from_slice(FISH.as_bytes());
            generate(Fish, &mut command, name, &mut script);
        }
    }
    script
}

/// Keeps shells from offering files where none is meant.
fn hinted(command: Command) -> Command {
    let hint = |arg: Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let is_path = names.iter().any(|name| PATHS.contains(&name.as_str()));
        let is_open = arg.get_action().takes_values() && arg.get_possible_values().is_empty();
        match (is_open, is_path) {
            (true, true) => arg.value_hint(ValueHint::AnyPath),
            (true, false) => arg.value_hint(ValueHint::Other),
            (false, _) => arg,
        }
    };
    command.mut_args(hint).mut_subcommands(hinted)
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

    #[test]
    fn bash_offers_files_only_where_a_path_is_meant_and_words_where_there_are_some() {
        let completed = |line: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), script(Shell::Bash)).expect("written");
            let ask = format!(
                "source {}; COMP_WORDS=({line} ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
                 _zoomhook zoomhook '' \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
                file.path().display()
            );
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
            let output = std::process::Command::new("bash").args(["-c", &ask]).current_dir(folder).output();
            String::from_utf8(output.expect("bash runs").stdout).expect("text").trim().to_owned()
        };
        assert!(completed("zoomhook events").contains("list show replay purge"));
        assert_eq!(completed("zoomhook events list --state"), "waiting retrying delivered dead");
        assert!(!completed("zoomhook events list --since").contains("zoomhook.toml"));
        assert!(completed("zoomhook run --config").contains("zoomhook.toml"));
    }
}
