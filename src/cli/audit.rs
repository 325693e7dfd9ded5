//! `audit`: who changed what, and whether that is all and true.
//!
//! The list comes from the running bridge, like every other. What verifies and exports reads the spool file, whether or
//! not a bridge runs: whether the file still holds what was written is not to be asked of the process that writes it, and
//! the chain is of one piece, which pages of an API would not be.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::Failure;
use super::documents::{Documents, FormArgs, Question, at_rest_view};
use super::events::{LIMIT, limit};
use super::number;
use super::options::{EXITS, SourceArgs, after};
use super::output::{plain, print, print_json};
use super::table::{Cell, Table};
use crate::admin::document::{self, Audit};
use crate::spool::View;
use crate::spool::audit::{self, Hash, Link, Misfit};
use crate::spool::record::AuditRow;
use crate::wording::counted;

/// Begins who gave a command where no bridge ran; in a table the user is what counts.
const OF_COMMANDS: &str = "the command line of ";

/// What is left of a detail names what was changed.
const DETAIL: usize = 24;

/// Is the command line of `audit`.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List who changed what, newest first
    List(ListArgs),
    /// Tell whether the table is what was written, row by row
    Verify(VerifyArgs),
    /// Print all of it, oldest first, a JSON document a line, with all that others need to verify it
    Export(ExportArgs),
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook audit list --limit 100"], EXITS))]
pub(super) struct ListArgs {
    /// Show only what is older than this row: the cursor that --json prints as "next"
    #[arg(long, value_name = "ROW", value_parser = number::row)]
    before: Option<u64>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = limit)]
    limit: usize,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(
    &["zoomhook audit verify", "zoomhook audit verify --kept 412:5e88489…"],
    "0 every row fits, 1 one does not, or it failed, 2 usage, 78 configuration",
))]
pub(super) struct VerifyArgs {
    /// A row and its hash as they were kept elsewhere, from the log or an earlier call: it must be in the table still
    #[arg(long, value_name = "ROW:HASH")]
    kept: Option<Link>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook audit export > audit.jsonl"], EXITS))]
pub(super) struct ExportArgs {
    /// Print JSON, which it does in any case
    #[arg(long = "json")]
    _json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Is what a look at the chain came to.
#[derive(Debug, PartialEq, Serialize)]
struct Verified {
    /// Whether every row fits.
    intact: bool,
    /// Rows that fit.
    rows: u64,
    /// The number of the last row that was taken from the front; 0 when none was.
    front: i64,
    /// The last that fits.
    head: Link,
    /// The number of the first row that does not fit.
    misfit: Option<i64>,
    /// Why it does not.
    reason: Option<String>,
}

/// Is a row as it is handed to others, with the hash that its own one begins with.
#[derive(Serialize)]
struct Exported<'a> {
    #[serde(flatten)]
    row: &'a AuditRow,
    previous: Hash,
}

/// Lists, verifies or exports.
///
/// # Errors
/// When the configuration is wrong, neither a bridge nor the spool can be read, or a row does not fit.
pub(super) async fn run(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::List(args) => list(args).await,
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::Export(args) => {
            let mut view = view(&args.source)?;
            let mut out = BufWriter::new(io::stdout().lock());
            export(&mut *view, &mut out)?;
            Ok(out.flush()?)
        }
    }
}

fn view(source: &SourceArgs) -> Result<Box<dyn View>, Failure> {
    let config = source.load()?.config;
    Ok(at_rest_view(&config.spool.path)?)
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let question = Question::new("/api/v1/audit").with("before", args.before).with("limit", Some(args.limit));
    let before = args.before.map(|row| i64::try_from(row).unwrap_or(i64::MAX));
    let read = |view: &mut dyn View| document::audit(view, before, args.limit).context("cannot list the audit table");
    let page = Documents::of(&config)?.read(question, read).await?;
    let none = args.before.map_or("nobody changed anything".to_owned(), |row| format!("no row before {row}"));
    Ok(args.form.show(&page, |page, now, width| render(page, &none, now, width))?)
}

fn render(page: &Audit, none: &str, now: Timestamp, width: Option<usize>) -> String {
    if page.audit.is_empty() {
        return format!("{none}\n");
    }
    let mut table = Table::new(["ROW", "WHEN", "WHO", "ACTION", "DETAIL"]).narrowest(DETAIL);
    for row in &page.audit {
        table.push([
            Cell::number(row.id.to_string()),
            Cell::moment(row.at, now, width),
            Cell::fact(plain(&row.who).replacen(OF_COMMANDS, "", 1)),
            Cell::fact(row.action.to_string()),
            Cell::text(&row.detail),
        ]);
    }
    let more = page.next.map(|next| format!("older ones: zoomhook audit list --before {next}\n"));
    table.render(width) + &more.unwrap_or_default()
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let expected = Expected { kept: args.kept, retention: config.spool.audit_retention.is_some() };
    let mut view = at_rest_view(&config.spool.path)?;
    let verified = verified(&mut *view, expected).context("cannot read the audit table")?;
    if args.json {
        print_json(&verified)?;
    }
    let Verified { rows, head, front, .. } = &verified;
    match &verified.reason {
        Some(reason) => Err(Failure::Runtime(anyhow!("the audit table is not what was written: {reason}"))),
        None if args.json => Ok(()),
        None => {
            let taken = if *front > 0 { format!("; retention has taken those up to {front}") } else { String::new() };
            Ok(print(&format!("every row fits: {}{taken}; the last is {head}\n", counted(*rows, "row")))?)
        }
    }
}

/// Is what the chain is held against.
#[derive(Clone, Copy)]
struct Expected {
    /// A place in it whose hash was kept elsewhere.
    kept: Option<Link>,
    /// Whether rows go from its front in time.
    retention: bool,
}

/// Goes through the chain up to the first row that does not fit.
fn verified(view: &mut dyn View, expected: Expected) -> Result<Verified, crate::spool::SpoolError> {
    let Expected { kept, retention } = expected;
    let mut rows = 0;
    let mut misfit = None;
    let mut front = None;
    let is_forged = |link: &Link| kept.is_some_and(|kept| kept.id == link.id && kept.hash != link.hash);
    let head = view.audit_chain(&mut |previous, row| {
        front.get_or_insert(previous.id);
        // The one before it may be what is left of rows that retention took.
        let fits =
            if is_forged(previous) { Err(Misfit::Rewritten { id: previous.id }) } else { audit::check(previous, &row) };
        misfit = fits.err();
        rows += u64::from(misfit.is_none());
        if misfit.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let front = front.unwrap_or(head.id);
    let outside = || match kept {
        Some(kept) if kept.id > head.id => Some(Misfit::Shortened { id: kept.id, last: head.id }),
        Some(kept) if kept.id < front => Some(Misfit::Outlived { id: kept.id, front }),
        Some(_) if is_forged(&head) => Some(Misfit::Rewritten { id: head.id }),
        Some(_) | None => (front > 0 && !retention).then_some(Misfit::Taken { front }),
    };
    let misfit = misfit.or_else(outside);
    let reason = misfit.map(|misfit| misfit.to_string());
    Ok(Verified { intact: misfit.is_none(), rows, front, head, misfit: misfit.map(|misfit| misfit.row()), reason })
}

fn export(view: &mut dyn View, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut written = Ok(());
    view.audit_chain(&mut |previous, row| {
        written = write_line(out, &Exported { row: &row, previous: previous.hash });
        if written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(written?)
}

fn write_line(out: &mut dyn Write, row: &Exported<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, row)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::admin::document::tests::now;
    use crate::clock::Clock;
    use crate::spool::record::Pause;
    use crate::spool::{open_view, pause_at_rest};

    #[test]
    fn chain_that_nobody_touched_fits_and_names_its_head() {
        let (_directory, path) = spool(3);
        let all = look(&path, None);
        assert_eq!((all.intact, all.rows, all.head.id, all.reason), (true, 3, 3, None));
        assert!(look(&path, Some(all.head)).intact);
    }

    #[test]
    fn first_row_that_was_changed_removed_or_inserted_is_named() {
        let wait = "WHERE id = 2";
        for (change, misfit) in [
            (format!("UPDATE audit SET who = 'nobody' {wait}"), 2),
            (format!("UPDATE audit SET at = at + 1 {wait}"), 2),
            (format!("DELETE FROM audit {wait}"), 2),
            ("DELETE FROM audit WHERE id = 1".to_owned(), 1),
            ("UPDATE audit SET hash = zeroblob(32) WHERE id = 3".to_owned(), 3),
            ("INSERT INTO audit VALUES (4, 0, 'operator', 'pause', '', zeroblob(32))".to_owned(), 4),
            ("UPDATE audit_anchor SET hash = randomblob(32)".to_owned(), 1),
        ] {
            let (_directory, path) = spool(3);
            forge(&path, &change);
            let verified = look(&path, None);
            assert_eq!((verified.intact, verified.misfit), (false, Some(misfit)), "{change}: {:?}", verified.reason);
            assert_eq!(verified.rows, u64::try_from(misfit - 1).expect("small"), "{change}");
        }
    }

    #[test]
    fn chain_that_was_written_anew_or_shortened_is_told_by_a_link_that_was_kept() {
        let (_directory, path) = spool(3);
        let head = look(&path, None).head;
        forge(&path, "DELETE FROM audit WHERE id = 3");
        assert!(look(&path, None).intact, "a chain cannot know its end");
        let shortened = look(&path, Some(head));
        assert_eq!(shortened.reason.as_deref(), Some("the chain ends with row 2: row 3, whose hash was kept, is gone"));

        pause_at_rest(&path, "crm", Pause::On, "somebody else", now()).expect("written");
        assert!(look(&path, None).intact, "sealed anew");
        assert_eq!(look(&path, Some(head)).misfit, Some(3));
        pause_at_rest(&path, "crm", Pause::On, "somebody else", now()).expect("written");
        assert_eq!(look(&path, Some(head)).misfit, Some(3), "not the last either");
    }

    #[test]
    fn rows_that_went_from_the_front_are_told() {
        let (_directory, path) = spool(3);
        let mut links = Vec::new();
        open_view(&path)
            .expect("a spool")
            .audit_chain(&mut |_, row| {
                links.push(Link { id: row.id, hash: row.hash });
                ControlFlow::Continue(())
            })
            .expect("readable");
        let cut =
            format!("UPDATE audit_anchor SET id = 2, hash = x'{}'; DELETE FROM audit WHERE id <= 2", links[1].hash);
        forge(&path, &cut);
        let told = |kept, retention| {
            let mut view = open_view(&path).expect("a spool");
            let verified = verified(&mut *view, Expected { kept, retention }).expect("readable");
            (verified.intact, verified.front, verified.misfit)
        };
        assert_eq!(told(None, false), (false, 2, Some(2)), "nothing takes rows here");
        assert_eq!(told(None, true), (true, 2, None));
        assert_eq!(told(Some(links[0]), true), (false, 2, Some(1)), "one whose hash was kept is gone");
        assert_eq!(told(Some(links[1]), true), (true, 2, None), "the last that went is known by its hash");

        forge(&path, "UPDATE audit_anchor SET id = 1000, hash = randomblob(32); DELETE FROM audit");
        assert_eq!(told(None, false), (false, 1000, Some(1000)), "all of it");
        assert_eq!(told(Some(links[2]), true), (false, 1000, Some(3)));
    }

    #[test]
    fn table_refuses_to_be_changed_where_nobody_takes_its_guards_away() {
        let (_directory, path) = spool(2);
        let connection = rusqlite::Connection::open(&path).expect("opens");
        for (change, words) in [
            ("UPDATE audit SET who = 'nobody'", "never changed"),
            ("DELETE FROM audit WHERE id = 1", "go from its front"),
        ] {
            let refused = connection.execute(change, []).expect_err("guarded").to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn export_is_a_line_for_each_row_that_leads_from_hash_to_hash() {
        let (_directory, path) = spool(3);
        let mut out = Vec::new();
        export(&mut *open_view(&path).expect("a spool"), &mut out).expect("exported");
        let lines: Vec<serde_json::Value> = String::from_utf8(out)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["previous"], "0".repeat(64));
        assert!(lines.windows(2).all(|pair| pair[1]["previous"] == pair[0]["hash"]), "{lines:?}");
        assert_eq!(lines[2]["hash"], look(&path, None).head.hash.to_string());
        assert_eq!((&lines[0]["who"], &lines[0]["action"]), (&"test".into(), &"pause".into()));
    }

    #[test]
    fn list_shows_the_newest_first_and_how_to_go_on() {
        let (_directory, path) = spool(3);
        let page = document::audit(&mut *open_view(&path).expect("a spool"), None, 2).expect("readable");
        insta::assert_snapshot!(anstream::adapter::strip_str(&render(&page, "", now(), None)), @"
        ROW  WHEN                     WHO   ACTION  DETAIL
          3  10:06:11 UTC (just now)  test  pause   destination crm
          2  10:06:11 UTC (just now)  test  pause   destination crm
        older ones: zoomhook audit list --before 2
        ");
        let whole = anstream::adapter::strip_str(&render(&page, "", now(), Some(44))).to_string();
        assert_eq!(whole.matches("destination crm").count(), 2, "nor is to what: {whole}");
        let narrow = anstream::adapter::strip_str(&render(&page, "", now(), Some(40))).to_string();
        assert_eq!(narrow.matches(" test").count(), 2, "who did it is never lost: {narrow}");
        let none = Audit { audit: Vec::new(), next: None };
        assert_eq!(render(&none, "no row before 2", now(), None), "no row before 2\n");
    }

    fn look(path: &Path, kept: Option<Link>) -> Verified {
        verified(&mut *open_view(path).expect("a spool"), Expected { kept, retention: false }).expect("readable")
    }

    /// Makes a spool with so many rows in its audit table.
    fn spool(rows: usize) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("zoomhook.db");
        let settings = crate::config::Spool::new(&path);
        drop(crate::spool::Spool::open(&settings, Clock::system(), std::sync::Arc::default()).expect("opens"));
        let connection = rusqlite::Connection::open(&path).expect("opens");
        connection.execute("INSERT INTO destinations (name, wants) VALUES ('crm', '*')", []).expect("a destination");
        for _ in 0..rows {
            assert!(pause_at_rest(&path, "crm", Pause::On, "test", now()).expect("written"));
        }
        (directory, path)
    }

    /// Changes the table as somebody would who may write the file.
    fn forge(path: &Path, change: &str) {
        let connection = rusqlite::Connection::open(path).expect("opens");
        let guards = "DROP TRIGGER IF EXISTS audit_is_never_changed; DROP TRIGGER IF EXISTS audit_goes_from_its_front;";
        connection.execute_batch(&format!("{guards}{change}")).expect("forged");
    }
}
