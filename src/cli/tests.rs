use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

#[test]
fn arguments_are_declared_without_contradiction() {
    Cli::command().debug_assert();
}

#[test]
fn front_page_has_every_command_once_in_a_line_that_fits() {
    let page = Cli::command().render_help().to_string();
    let lines: Vec<&str> = page.lines().collect();
    assert!(lines.len() <= 39, "{page}");
    for command in Cli::command().get_subcommands() {
        let start = format!("  {:<11}  {}", command.get_name(), command.get_about().expect("a sentence"));
        assert!(start.len() <= 80, "{start}");
        assert_eq!(lines.iter().filter(|line| **line == start).count(), 1, "{start}\n{page}");
    }
    assert_eq!(GROUPS.map(|(_, names)| names.len()).iter().sum::<usize>(), Cli::command().get_subcommands().count());
}

#[test]
fn every_page_of_help_names_exit_codes_and_fits_a_terminal() {
    fn look(command: &mut clap::Command, above: &str) {
        let name = format!("{above} {}", command.get_name());
        let page = command.render_long_help().to_string();
        for line in page.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
        if command.get_name() == "help" {
            return;
        }
        if command.has_subcommands() {
            command.get_subcommands_mut().for_each(|below| look(below, &name));
        } else {
            assert!(page.contains("Exit codes: "), "{name}:\n{page}");
        }
    }
    Cli::command().get_subcommands_mut().for_each(|command| look(command, "zoomhook"));
}

#[test]
fn every_command_of_the_manual_is_understood() {
    let lines = [
        "run",
        "status --json",
        "events list",
        "events list --type meeting.* --destination crm --state retrying --since 2h --until 10min --parked --limit 5",
        "events list --since 2026-07-30T10:00:00Z --before 41 --json",
        "events show 41 --raw",
        "dead list --destination crm --type meeting.started --json",
        "dead list --rows --since 2h --until 1h --limit 5",
        "dead list --cause timeout --before 9",
        "dead replay 41 42",
        "dead replay --destination crm --type meeting.* --dry-run",
        "dead replay --cause timeout --since 24h --until 1h --rate 50 --yes",
        "events replay 41 42",
        "events replay --to audit --since 24h --rate 100 --yes",
        "events replay --to audit --all",
        "events replay --destination crm --type meeting.* --until 2h --dry-run --json",
        "dead replay --all --json",
        "dead purge 41 42 --yes",
        "audit export --json",
        "gaps list --limit 5",
        "gaps acknowledge 3 --note OPS-12",
        "dead purge --destination crm --type meeting.* --json",
        "events purge --parked --until 2h --yes",
        "orphans list --json",
        "orphans purge old --yes --json",
        "pause crm",
        "resume crm --json",
        "gaps --limit 5",
        "gaps ack 3 --note OPS-12 --json",
        "log-level",
        "log-level info,zoomhook::dispatch=debug --json",
        "status --watch",
        "status --watch 5s --json",
        "top --every 10s --json",
        "completions bash",
        "man /tmp/man1",
        "send meeting.started --to http://localhost:3000/ --set payload.object.topic=x --set a=1 --repeat 5",
        "send --file - --to https://crm.internal/hook --secret-env CRM_TOKEN --stale 600 --timeout 3s --json",
        "send --all --to http://localhost:3000/ --secret-file token --bad-signature",
        "send --url-validation --to http://localhost:3000/ --ca-file ca.pem",
        "send --list --json",
        "verify --signature v0=ab --timestamp 1785368934 --body - --secret-env CRM_TOKEN --json",
        "verify --headers headers.txt --body body.json --secret-file token",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
    }
}

#[test]
fn arguments_that_say_nothing_or_too_much_are_refused() {
    let lines = [
        ("status --watch 1ms", ErrorKind::ValueValidation),
        ("status --log-level debug", ErrorKind::UnknownArgument),
        ("completions powershell", ErrorKind::InvalidValue),
        ("dead replay", ErrorKind::MissingRequiredArgument),
        ("dead replay --dry-run", ErrorKind::MissingRequiredArgument),
        ("dead replay --all --destination crm", ErrorKind::ArgumentConflict),
        ("dead replay --all 41", ErrorKind::ArgumentConflict),
        ("dead replay 41 --dry-run --yes", ErrorKind::ArgumentConflict),
        ("dead replay 41 --rate 0", ErrorKind::ValueValidation),
        ("events replay --to crm", ErrorKind::MissingRequiredArgument),
        ("events replay 41 --to crm --destination crm", ErrorKind::ArgumentConflict),
        ("events replay --all --since 2h", ErrorKind::ArgumentConflict),
        ("dead purge --yes", ErrorKind::MissingRequiredArgument),
        ("dead purge --all --type meeting.*", ErrorKind::ArgumentConflict),
        ("events purge --yes", ErrorKind::MissingRequiredArgument),
        ("orphans purge --yes", ErrorKind::MissingRequiredArgument),
        ("events show 41 --raw --json", ErrorKind::ArgumentConflict),
        ("events list --state lost", ErrorKind::InvalidValue),
        ("events list --since yesterday", ErrorKind::ValueValidation),
        ("events list --type a*b", ErrorKind::ValueValidation),
        ("events list --limit 0", ErrorKind::ValueValidation),
        ("events show first", ErrorKind::ValueValidation),
        ("events show 9223372036854775808", ErrorKind::ValueValidation),
        ("events list --before 9223372036854775808", ErrorKind::ValueValidation),
        ("events replay 9223372036854775808", ErrorKind::ValueValidation),
        ("dead list --before 9223372036854775808", ErrorKind::ValueValidation),
        ("dead replay 9223372036854775808", ErrorKind::ValueValidation),
        ("audit list --before 9223372036854775808", ErrorKind::ValueValidation),
        ("gaps ack 9223372036854775808 --note OPS-12", ErrorKind::ValueValidation),
        ("send meeting.started", ErrorKind::MissingRequiredArgument),
        ("send --to http://localhost/", ErrorKind::MissingRequiredArgument),
        ("send meeting.begun --to http://localhost/", ErrorKind::ValueValidation),
        ("send meeting.started --to http://crm.internal/", ErrorKind::ValueValidation),
        ("send meeting.started --all --to http://localhost/", ErrorKind::ArgumentConflict),
        ("send --file a --set a=1 --to http://localhost/", ErrorKind::ArgumentConflict),
        ("send meeting.started --set a --to http://localhost/", ErrorKind::ValueValidation),
        ("send meeting.started --repeat 101 --to http://localhost/", ErrorKind::ValueValidation),
        ("send meeting.started --bad-signature --stale 9 --to http://localhost/", ErrorKind::ArgumentConflict),
        ("send meeting.started --timeout 0s --to http://localhost/", ErrorKind::ValueValidation),
        ("send meeting.started --to http://localhost/ --secret-env A --secret-file b", ErrorKind::ArgumentConflict),
        ("audit verify --kept 3", ErrorKind::ValueValidation),
        ("gaps ack 3", ErrorKind::MissingRequiredArgument),
        ("gaps --limit 5 ack 3 --note OPS-12", ErrorKind::ArgumentConflict),
        ("log-level loud", ErrorKind::ValueValidation),
        ("verify --signature v0=ab --body -", ErrorKind::MissingRequiredArgument),
    ];
    for (line, kind) in lines {
        assert_eq!(parse(line).map_err(|error| error.kind()).err(), Some(kind), "{line}");
    }
}

#[test]
fn error_is_one_line_with_its_sources() {
    let cause = io::Error::new(io::ErrorKind::PermissionDenied, "permission denied");
    let failure = Failure::from(anyhow::Error::from(cause).context("cannot open the spool"));
    let mut err = Vec::new();
    failure.report(&mut err);
    assert_eq!(String::from_utf8_lossy(&err), "zoomhook: cannot open the spool: permission denied\n");
}

#[test]
fn source_that_was_told_already_is_not_told_again() {
    let source = io::Error::from_raw_os_error(13);
    let told = source.to_string();
    let error = SpoolError::Open { path: "/spool/zoomhook.db".into(), source };
    let mut err = Vec::new();
    Failure::from(anyhow::Error::from(error)).report(&mut err);
    let line = String::from_utf8_lossy(&err);
    assert_eq!(line, format!("zoomhook: cannot open the spool /spool/zoomhook.db: {told}\n"));
}

#[test]
fn spool_that_cannot_be_written_to_is_told_of_once_and_with_what_to_do() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(file.path(), flags).expect("opens");
    let refused = connection.execute("CREATE TABLE t (a)", []).expect_err("it is read-only");
    let told = sentence(&anyhow::Error::from(SpoolError::from(refused)));
    assert_eq!(told.matches("readonly").count(), 1, "{told}");
    assert!(told.starts_with("the spool failed: ") && told.ends_with("be the bridge's user"), "{told}");
}

#[test]
fn spool_that_is_missing_can_be_named() {
    let error = anyhow::Error::from(SpoolError::Missing("zoomhook.db".into())).context("it does not help");
    let expected = "it does not help: there is no spool at zoomhook.db; name it with --spool or --config, \
                    or start a bridge, which makes it";
    assert_eq!(sentence(&error), expected);
}

#[test]
fn reader_that_has_gone_away_is_no_fault() {
    let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
    let mut err = Vec::new();
    failure.report(&mut err);
    assert!(err.is_empty());
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("zoomhook").chain(line.split(' ')))
}
