//! The rules of the operator's port.

use std::path::PathBuf;

use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::{Admin, Listen};

/// The longest path of a Unix socket, as the kernel has it.
const SOCKET_PATH: usize = 107;

pub(super) fn admin(mut cursor: Cursor<'_>) -> Option<Admin> {
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
    cursor.finish();
    Some(Admin { listen: listen?, token, viewer_token })
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
