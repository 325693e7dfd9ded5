//! The rules of the operator's port.

use std::path::PathBuf;

use super::Purpose;
use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::{Admin, AdminTls, Listen};

/// The longest path of a Unix socket, as the kernel has it.
const SOCKET_PATH: usize = 107;

pub(super) fn admin(mut cursor: Cursor<'_>, purpose: Purpose) -> Option<Admin> {
    let has_token = cursor.has("token");
    let token = cursor.take("token").and_then(|entry| entry.meant_as("the token of the admin port").secret());
    let viewer = cursor.take("viewer_token");
    let viewer_token = viewer.and_then(|entry| entry.meant_as("the token of those who may only look").secret());
    if cursor.has("viewer_token") && !has_token {
        let message = "missing: without it everybody is an operator, those with the viewer_token included";
        cursor.place_of("token").fail::<Admin>(message);
    } else if token.is_some() && token == viewer_token {
        cursor.place_of("viewer_token").warn("it is the same as token: whoever shows it is an operator");
    }
    let listen = match cursor.take("listen") {
        None => Some(Some(Admin::default_listen())),
        Some(entry) => listen(entry),
    };
    if let Some(Some(Listen::Tcp(address))) = listen
        && !address.ip().to_canonical().is_loopback()
        && !has_token
        && !cursor.has("viewer_token")
    {
        let message = format!("missing: the port can be reached from other machines at {address}, so it needs a token");
        cursor.place_of("token").fail::<Admin>(message);
    }
    if let (Some(Some(Listen::Unix(_))), true) = (&listen, has_token) {
        cursor.place_of("token").warn("a Unix socket asks for no token: whoever its file mode lets in is an operator");
    }
    let tls = tls(&mut cursor, purpose);
    if let (Some(Some(Listen::Unix(_))), true) = (&listen, tls.is_some()) {
        cursor
            .place_of("tls_cert")
            .fail::<Admin>("a Unix socket is not encrypted: take it out, or listen on an address");
    }
    if let (Some(Some(Listen::Tcp(address))), None) = (&listen, &tls)
        && !address.ip().to_canonical().is_loopback()
        && purpose == Purpose::Run
    {
        cursor
            .place_of("listen")
            .warn("tokens and payloads cross the network in plain text: better set tls_cert and tls_key");
    }
    let ca_file = cursor.take("ca_file").and_then(Entry::certificates);
    let client = pair(&mut cursor, ["client_cert", "client_key"]);
    cursor.finish();
    Some(Admin { listen: listen?, token, viewer_token, tls, ca_file, client })
}

fn tls(cursor: &mut Cursor<'_>, purpose: Purpose) -> Option<AdminTls> {
    let files = pair(cursor, ["tls_cert", "tls_key"]);
    let client_ca_file = cursor.take("client_ca_file").and_then(Entry::certificates);
    if client_ca_file.is_some() && files.is_none() {
        cursor
            .place_of("tls_cert")
            .fail::<Admin>("missing: only an encrypted port can ask for certificates of clients");
    }
    let (cert, key) = files?;
    // An operator's shell need not be able to read the key.
    if purpose == Purpose::Run {
        for (name, path, what) in [("tls_cert", &cert, "CERTIFICATE"), ("tls_key", &key, "PRIVATE KEY")] {
            let place = cursor.place_of(name);
            if place.file(path).is_some_and(|text| !text.contains(what)) {
                place.fail::<Admin>(format!(
                    "the file {} holds no {} in PEM form",
                    path.display(),
                    what.to_lowercase()
                ));
            }
        }
    }
    Some(AdminTls { cert, key, client_ca_file })
}

/// Takes the paths of a certificate and of its key, which go together.
pub(super) fn pair(cursor: &mut Cursor<'_>, keys: [&'static str; 2]) -> Option<(PathBuf, PathBuf)> {
    let given = keys.map(|key| cursor.has(key));
    let [cert, key] = keys.map(|key| cursor.take(key).and_then(Entry::text).map(PathBuf::from));
    if given[0] != given[1] {
        let [present, missing] = if given[0] { keys } else { [keys[1], keys[0]] };
        cursor.place_of(missing).fail::<Admin>(format!("missing: it belongs to {present}"));
    }
    Some((cert?, key?))
}

/// Reads an address; `Some(None)` is none, on purpose.
fn listen(entry: Entry<'_>) -> Option<Option<Listen>> {
    let word = entry.as_word().unwrap_or_default();
    if word == Listen::OFF {
        return Some(None);
    }
    if let Some(path) = word.strip_prefix(Listen::UNIX) {
        if path.is_empty() || path.len() > SOCKET_PATH {
            return entry.mismatch(&format!("\"unix:\" and a path of at most {SOCKET_PATH} bytes"));
        }
        return Some(Some(Listen::Unix(PathBuf::from(path))));
    }
    let numeric = word.strip_prefix("localhost:").map_or_else(|| word.to_owned(), |port| format!("127.0.0.1:{port}"));
    match numeric.parse() {
        Ok(address) => Some(Some(Listen::Tcp(address))),
        Err(_) => entry.mismatch(
            "an address and a port such as \"127.0.0.1:8686\" or \"[::1]:8686\", \"unix:\" and a path, or \"off\"",
        ),
    }
}
