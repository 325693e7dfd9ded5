//! `check`: is the configuration right, what does it come to, and whom does it talk to.

pub(super) mod filters;
mod late;

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use self::filters::doubts;
use self::late::{LateJoiner, late_joiners};
use super::options::{BridgeArgs, EXIT_CONFIG, after, refuse, warn};
use super::output::wrapped;
use super::probe::{self, Probe};
use super::table::terminal_width;
use crate::clock::Clock;
use crate::config::authorization::replaced;
use crate::config::problem::{Problem, Problems};
use crate::config::{Egress, Loaded, Shown, egress, show};
use crate::tls::{Roots, inventory};

/// The column in which stands what a host is for.
const PURPOSE: usize = 35;
/// The same where it stands below the host.
const MARGIN: usize = 6;
/// Begins every file of SQLite (its file format, section 1.3.1).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Checks the configuration, shows what it comes to and which hosts it talks to
#[derive(Args)]
#[command(after_help = after(
    &["zoomhook check", "zoomhook check --probe"],
    "0 all is right, 1 a probe failed, 2 usage, 78 configuration",
))]
pub struct CheckArgs {
    /// Where the configuration comes from, and `--to`.
    #[command(flatten)]
    pub bridge: BridgeArgs,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Ask Zoom for a token, and each destination for a URL validation
    #[arg(long)]
    pub probe: bool,
}

/// Checks the configuration, asks around if it is to, and prints what came out.
///
/// The exit code is 78 for a configuration that is wrong, and 1 when a probe fails.
///
/// # Errors
/// When it cannot be written.
pub async fn run(args: &CheckArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let roots = Roots::load();
    let mut outcome = args.bridge.load().and_then(|loaded| tried(loaded, &roots));
    if let Ok(loaded) = &mut outcome {
        loaded.warnings.extend(replaced(&loaded.config, Clock::system().now()));
        loaded.warnings.extend(doubts(&loaded.config));
    }
    let probes = match &outcome {
        Ok(loaded) if args.probe => Some(probe::probe(&loaded.config, &roots).await),
        Ok(_) | Err(_) => None,
    };
    let code = if args.json {
        print_json(&outcome, probes.as_deref(), out)?
    } else {
        print_text(&outcome, probes.as_deref(), out, err)?
    };
    let failed = probes.iter().flatten().any(|probe| !probe.ok);
    Ok(if failed { ExitCode::FAILURE } else { code })
}

/// Tries the certificates and the place of the spool, which the rules have seen from outside only.
pub(super) fn tried(loaded: Loaded, roots: &Roots) -> Result<Loaded, Problems> {
    let mut problems = inventory::problems(&loaded.config, roots);
    let path = &loaded.config.spool.path;
    if let Some(message) = misplaced(path) {
        problems.push(Problem::new("spool.path", message));
    }
    if problems.is_empty() {
        return Ok(loaded);
    }
    let log_format = loaded.config.log.format;
    Err(Problems { origin: loaded.origin, problems, warnings: loaded.warnings, log_format })
}

/// Says why there can be no spool at a path, as far as that can be seen without a change.
fn misplaced(path: &Path) -> Option<String> {
    let shown = path.display();
    let folder = path.parent().filter(|folder| folder.exists() && !folder.is_dir());
    if let Some(folder) = folder {
        return Some(format!("{} is no directory, so {shown} cannot be a file in it", folder.display()));
    }
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_dir() {
        return Some(format!("{shown} is a directory: name a file in it, such as zoomhook.db"));
    }
    if !metadata.is_file() {
        return Some(format!("{shown} is no regular file: name one, such as zoomhook.db"));
    }
    let mut begin = Vec::new();
    // Who may not read it is told so when it is opened.
    File::open(path).ok()?.take(SQLITE.len() as u64).read_to_end(&mut begin).ok()?;
    let fits = begin.is_empty() || begin == SQLITE;
    (!fits).then(|| format!("{shown} is no spool, but a file of another kind: name another"))
}

/// Prints the outcome of a check for people: what is wrong goes to `err`.
///
/// # Errors
/// When it cannot be written.
fn print_text(
    outcome: &Result<Loaded, Problems>,
    probes: Option<&[Probe]>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let Loaded { origin, config, warnings } = match outcome {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(problems, err),
    };
    warn(warnings, err)?;
    writeln!(out, "OK: {origin}\n\nEffective configuration:\n\n{}\nMay connect to:\n", show(config))?;
    for reached in egress(config) {
        writeln!(out, "{}", reach(&reached, terminal_width()))?;
    }
    let late = late_joiners(config);
    if !late.is_empty() {
        writeln!(out, "\nDestinations that may join late:\n")?;
        late.iter().try_for_each(|joiner| writeln!(out, "{}", joiner.line()))?;
    }
    let folder = config.spool.path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    if let Some(folder) = folder {
        writeln!(out, "\nThe directory of the spool, {}, is not there yet: run makes it.", folder.display())?;
    }
    if let Some(probes) = probes {
        probe::print(probes, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a host with what it is for: in one line where there is room, else with that below it.
fn reach(Egress { host, port, purpose, through }: &Egress, width: Option<usize>) -> String {
    let through = through.as_ref().map(|proxy| format!(" (through {proxy})")).unwrap_or_default();
    let (place, purpose) = (format!("{host}:{port}"), format!("{purpose}{through}"));
    match width {
        Some(narrow) if narrow < 2 * PURPOSE => {
            format!("  {place}\n{:MARGIN$}{}", "", wrapped(&purpose, MARGIN, width))
        }
        Some(_) | None => format!("  {place:<32} {}", wrapped(&purpose, PURPOSE, width)),
    }
}

/// Prints the outcome of a check as one JSON document, right or wrong.
///
/// # Errors
/// When it cannot be written.
fn print_json(
    outcome: &Result<Loaded, Problems>,
    probes: Option<&[Probe]>,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    serde_json::to_writer_pretty(&mut *out, &Report { probes, ..Report::of(outcome) })?;
    writeln!(out)?;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) })
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    origin: &'a str,
    problems: &'a [Problem],
    warnings: &'a [Problem],
    config: Option<Shown<'a>>,
    egress: Vec<Egress>,
    late_joiners: Vec<LateJoiner<'a>>,
    /// Only when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<&'a [Probe]>,
}

impl<'a> Report<'a> {
    fn of(outcome: &'a Result<Loaded, Problems>) -> Self {
        match outcome {
            Ok(Loaded { origin, config, warnings }) => Self {
                ok: true,
                origin,
                problems: &[],
                warnings,
                config: Some(Shown::of(config)),
                egress: egress(config),
                late_joiners: late_joiners(config),
                probes: None,
            },
            Err(Problems { origin, problems, warnings, log_format: _ }) => Self {
                ok: false,
                origin,
                problems,
                warnings,
                config: None,
                egress: Vec::new(),
                late_joiners: Vec::new(),
                probes: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::Value;

    use super::*;
    use crate::cli::options::SourceArgs;

    #[test]
    fn a_right_file_is_shown_with_whom_it_talks_to() {
        let file = file("valid/twins.toml");
        let (code, out, err) = check(&file, Form::Text);
        assert_eq!(code, ExitCode::SUCCESS, "{err}");
        assert!(out.starts_with(&format!("OK: {}", file.display())), "{out}");
        assert!(out.contains("[[subscription]]") && out.contains("group = \"east\""), "{out}");
        assert!(out.contains("ws.zoom.us:443 ") && out.contains("crm.internal:443 "), "{out}");
        assert!(err.contains("warning:"), "{err}");
    }

    #[test]
    fn a_wrong_file_is_refused_on_stderr_with_code_78() {
        let (code, out, err) = check(&file("invalid/types.toml"), Form::Text);
        assert_eq!((code, out.as_str()), (ExitCode::from(78), ""));
        assert!(err.contains("invalid/types.toml: ") && err.contains("destination \"crm\": timeout (line "), "{err}");
    }

    #[test]
    fn json_says_the_same_right_or_wrong() {
        let (code, out, err) = check(&file("valid/twins.toml"), Form::Json);
        let document: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
        assert_eq!(document["ok"], true);
        assert_eq!(document["config"]["subscription"][0]["client_secret"], "***");
        assert_eq!(document["egress"][0]["port"], 443);

        let (code, out, _) = check(&file("invalid/types.toml"), Form::Json);
        let document: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(code, ExitCode::from(78));
        assert_eq!((&document["ok"], &document["config"]), (&Value::Bool(false), &Value::Null));
        assert!(document["problems"][0]["line"].is_u64() && document["problems"][0]["message"].is_string());
    }

    #[test]
    fn line_that_is_no_text_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("zoomhook.toml");
        std::fs::write(&path, b"# one\n# two\nname = '\xff'\n").expect("written");
        let (code, _, err) = check(&path, Form::Text);
        assert!(code == ExitCode::from(78) && err.contains("line 3 is not text (UTF-8)"), "{err}");
    }

    #[test]
    fn what_run_would_refuse_or_pass_over_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, place) = (folder.path().join("zoomhook.toml"), folder.path().display().to_string());
        let written = |spool: &str, url: &str, token: &str, events: &str| {
            let text = format!(
                "[[subscription]]\nid = 'a'\nclient_id = 'a'\nclient_secret = 'a'\n[[destination]]\nname = 'crm'\n\
                 url = '{url}'\nsecret_token = '{token}'\n{events}\n[spool]\npath = '{spool}'\n"
            );
            std::fs::write(&path, text).expect("written");
            check(&path, Form::Text)
        };
        let (code, out, err) = written(&format!("{place}/new/zoomhook.db"), "https://a/#part", "s", "");
        assert_eq!(code, ExitCode::SUCCESS, "{err}");
        assert!(out.contains(&format!("{place}/new, is not there yet: run makes it")), "{out}");
        assert!(err.contains("warning: destination \"crm\": url (line 7): what stands behind the #"), "{err}");
        let (code, _, err) = written(&place, "https://a/", "s", "");
        assert!(code == ExitCode::from(78) && err.contains("spool.path: ") && err.contains("is a directory"), "{err}");
        let (code, _, err) = written("z.db", "https://a/", "   ", "");
        assert!(code == ExitCode::from(78) && err.contains("nothing but blanks"), "{err}");
        let (code, _, err) = written("z.db", "https://a/", "s", "events = ['meeting.strated']");
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(err.contains("did you mean meeting.started?"), "{err}");
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem_of_the_configuration() {
        let (code, _, err) = check(Path::new("/nonexistent/zoomhook.toml"), Form::Text);
        assert_eq!(code, ExitCode::from(78));
        assert!(err.contains("--config: /nonexistent/zoomhook.toml: cannot be read"), "{err}");
    }

    #[test]
    fn secret_token_that_was_replaced_is_said_to_be_of_no_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("zoomhook.toml");
        for (at, told) in [("2026-01-01T00:00:00Z", true), ("9999-01-01T00:00:00Z", false)] {
            let text = format!(
                "[[subscription]]\nid = 'a'\nclient_id = 'a'\nclient_secret = 'a'\n[[destination]]\nname = 'crm'\n\
                 url = 'https://a/'\nsecret_token = 'old'\nnext_secret_token = 'new'\nswitch_at = {at}\n"
            );
            std::fs::write(&path, text).expect("written");
            let (code, _, err) = check(&path, Form::Text);
            assert_eq!(code, ExitCode::SUCCESS);
            let words =
                "warning: destination \"crm\": secret_token: next_secret_token signs since 2026-01-01T00:00:00Z";
            assert_eq!(err.contains(words), told, "{err}");
        }
    }

    #[test]
    fn what_a_host_is_for_stands_below_it_where_the_terminal_is_narrow() {
        let reached = Egress {
            host: "crm.internal".to_owned(),
            port: 443,
            purpose: "destination crm, destination audit".to_owned(),
            through: None,
        };
        let wide = "  crm.internal:443                 destination crm, destination audit";
        assert_eq!((reach(&reached, None), reach(&reached, Some(80))), (wide.to_owned(), wide.to_owned()));
        let narrow = "  crm.internal:443\n      destination crm,\n      destination audit";
        assert_eq!(reach(&reached, Some(30)), narrow);
    }

    #[derive(PartialEq)]
    enum Form {
        Text,
        Json,
    }

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config").join(name)
    }

    fn check(path: &Path, form: Form) -> (ExitCode, String, String) {
        let source = SourceArgs { config: Some(path.to_owned()), ..SourceArgs::default() };
        let args = CheckArgs {
            bridge: BridgeArgs { source, ..BridgeArgs::default() },
            json: form == Form::Json,
            probe: false,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = futures_util::FutureExt::now_or_never(run(&args, &mut out, &mut err))
            .expect("nothing to wait for")
            .expect("memory can be written to");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (code, text(out), text(err))
    }
}
