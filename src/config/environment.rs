//! What flags and variables add to the tree: the environment alone is a whole configuration.

use super::address::{self, Protocol};
use super::check::Purpose;
use super::file::{Node, Origin, Table, Value};
use super::source::Sources;

/// Is where the secret of `--to` destinations is looked for; the first that is set counts.
const SECRET_TOKEN: [&str; 2] = ["ZOOM_WEBHOOK_SECRET_TOKEN", "ZOOM_WEBHOOK_SECRET"];

/// Lays flags over variables over the file. Without a file, `ZOOM_...` variables make the subscription.
pub(super) fn complete(root: &mut Table, sources: &Sources<'_>, purpose: Purpose) {
    let (flags, environment) = (&sources.flags, &sources.environment);
    let settings = [
        ("spool", "path", "--spool", &flags.spool, "ZOOMHOOK_SPOOL"),
        ("admin", "listen", "--listen", &flags.listen, "ZOOMHOOK_LISTEN"),
        ("log", "level", "--log-level", &flags.log_level, "ZOOMHOOK_LOG_LEVEL"),
        ("log", "format", "--log-format", &flags.log_format, "ZOOMHOOK_LOG_FORMAT"),
    ];
    for (section, key, flag, given, variable) in settings {
        if let Some(value) = given {
            set(root, section, key, Node::outside(flag, value));
        } else if let Some(value) = environment.get(variable) {
            set(root, section, key, Node::outside(variable, value));
        }
    }
    if let Some(path) = &flags.ca_file {
        set(root, "admin", "ca_file", Node::outside("--ca-file", path));
    }
    // No flag: the arguments of a process are for everybody to see.
    for (key, variable) in [("token", "ZOOMHOOK_ADMIN_TOKEN"), ("viewer_token", "ZOOMHOOK_ADMIN_VIEWER_TOKEN")] {
        if environment.get(variable).is_some() {
            set(root, "admin", key, Node::variable(variable));
        }
    }
    if purpose == Purpose::Run {
        if sources.file.is_none() {
            append(root, "subscription", subscription(sources));
        }
        destinations(root, sources);
    }
}

fn subscription(sources: &Sources<'_>) -> Table {
    let variables = [
        ("id", "ZOOM_SUBSCRIPTION_ID", Presence::Needed),
        ("client_id", "ZOOM_CLIENT_ID", Presence::Needed),
        ("client_secret", "ZOOM_CLIENT_SECRET", Presence::Needed),
        ("account_id", "ZOOM_ACCOUNT_ID", Presence::Optional),
        ("token_url", "ZOOM_TOKEN_URL", Presence::Optional),
    ];
    let given = |name, presence| presence == Presence::Needed || sources.environment.get(name).is_some();
    let entries = variables.into_iter().filter(|(_, name, presence)| given(name, *presence));
    entries.map(|(key, name, _)| (key.to_owned(), Node::variable(name))).collect()
}

/// Says whether a variable that is not set is a mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Needed,
    Optional,
}

fn destinations(root: &mut Table, sources: &Sources<'_>) {
    let set = SECRET_TOKEN.into_iter().find(|name| sources.environment.get(name).is_some());
    let secret_token = set.unwrap_or(SECRET_TOKEN[0]);
    let urls = &sources.flags.to;
    for (index, url) in urls.iter().enumerate() {
        let flag = if urls.len() == 1 { "--to".to_owned() } else { format!("--to, number {}", index + 1) };
        // A URL that cannot be read is said to be so by the rules.
        let stem = address::parse(url, Protocol::Http).map_or_else(|_| "to".to_owned(), |url| address::name(&url));
        let destination = Table::from([
            ("name".to_owned(), Node::outside(&*flag, free_name(root, stem))),
            ("url".to_owned(), Node::outside(&*flag, url)),
            ("secret_token".to_owned(), Node::variable(secret_token)),
        ]);
        append(root, "destination", destination);
    }
}

/// Finds a name that no destination has yet: the stem, or the stem with a number.
fn free_name(root: &Table, stem: String) -> String {
    let destinations: &[Node] = match root.get("destination") {
        Some(Node { value: Value::List(items), .. }) => items,
        Some(_) | None => &[],
    };
    let is_taken = |name: &str| {
        destinations.iter().any(|node| match &node.value {
            Value::Table(table) => {
                matches!(table.get("name"), Some(Node { value: Value::Text(taken), .. }) if taken == name)
            }
            Value::Text(_) | Value::Integer(_) | Value::List(_) | Value::Other(_) => false,
        })
    };
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    let mut names = std::iter::once(stem.clone()).chain(numbered);
    names.find(|name| !is_taken(name)).expect("there are more numbers than destinations")
}

/// Puts a value into a section; a section that is none stays, for the rules to refuse.
fn set(root: &mut Table, section: &str, key: &str, node: Node) {
    let origin = node.origin.clone();
    let section = root.entry(section.to_owned()).or_insert(Node { value: Value::Table(Table::new()), origin });
    if let Value::Table(table) = &mut section.value {
        table.insert(key.to_owned(), node);
    }
}

/// Adds a table to a list; a list that is none stays, for the rules to refuse.
fn append(root: &mut Table, list: &str, table: Table) {
    let outside = |value| Node { value, origin: Origin::Outside(list.to_owned()) };
    let node = root.entry(list.to_owned()).or_insert_with(|| outside(Value::List(Vec::new())));
    if let Value::List(items) = &mut node.value {
        items.push(outside(Value::Table(table)));
    }
}
