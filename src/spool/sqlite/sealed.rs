//! How sealed payloads stand in the tables.
//!
//! `bodies.key` names the key of a body, and is null where the body is plain. `attempts.excerpt` is text where it is plain,
//! and else a blob: eight bytes that name the key, then what is sealed.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row};

use crate::event::{Digest, EventId};
use crate::spool::seal::{KeyId, Keys, Sealer, Unreadable, body_context, excerpt_context};

/// Finds the keys that bodies are sealed with, each once: a few looks at the index.
pub(super) const KEYS: &str = "WITH RECURSIVE used (key) AS (
    SELECT min(key) FROM bodies INDEXED BY bodies_sealed WHERE key IS NOT NULL
    UNION ALL SELECT (SELECT min(b.key) FROM bodies b INDEXED BY bodies_sealed WHERE b.key IS NOT NULL AND b.key > used.key)
      FROM used WHERE used.key IS NOT NULL)
  SELECT key FROM used WHERE key IS NOT NULL";

/// Reads the name of a key.
pub(super) fn key_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<KeyId>> {
    Ok(row.get::<_, Option<[u8; 8]>>(column)?.map(KeyId))
}

/// Returns the keys that bodies are sealed with and that are not configured.
pub(super) fn missing_keys(connection: &Connection, keys: &Keys) -> rusqlite::Result<Vec<KeyId>> {
    let mut statement = connection.prepare_cached(KEYS)?;
    let used: Vec<Option<KeyId>> = statement.query_map([], |row| key_of(row, 0))?.collect::<Result<_, _>>()?;
    Ok(used.into_iter().flatten().filter(|key| !keys.has(*key)).collect())
}

/// Opens a body, if it is sealed.
pub(super) fn body(
    stored: Vec<u8>,
    key: Option<KeyId>,
    event: EventId,
    digest: Digest,
    keys: &Keys,
) -> Result<Vec<u8>, Unreadable> {
    match key {
        None => Ok(stored),
        Some(key) => keys.open(key, &body_context(event, digest), stored),
    }
}

/// Returns the name of the key and the body as they are stored.
pub(super) fn sealed_body(
    sealer: Option<&mut Sealer>,
    event: EventId,
    digest: Digest,
    body: &[u8],
) -> (Option<[u8; 8]>, Vec<u8>) {
    match sealer {
        None => (None, body.to_vec()),
        Some(sealer) => (Some(sealer.id().0), sealer.seal(&body_context(event, digest), body)),
    }
}

/// Returns the key that the beginning of an answer is sealed with.
pub(super) fn key_of_excerpt(stored: ValueRef<'_>) -> Option<KeyId> {
    match stored {
        ValueRef::Blob(bytes) => bytes.first_chunk().map(|key| KeyId(*key)),
        ValueRef::Text(_) | ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    }
}

/// Opens the beginning of an answer, if it is sealed.
pub(super) fn excerpt(
    stored: ValueRef<'_>,
    event: EventId,
    destination: i64,
    at: i64,
    keys: &Keys,
) -> Result<String, Unreadable> {
    let bytes = match stored {
        ValueRef::Text(text) => text.to_vec(),
        ValueRef::Blob(bytes) => {
            let (key, sealed) = bytes.split_first_chunk().ok_or(Unreadable::Damaged)?;
            keys.open(KeyId(*key), &excerpt_context(event, destination, at), sealed.to_vec())?
        }
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => return Err(Unreadable::Damaged),
    };
    String::from_utf8(bytes).map_err(|_| Unreadable::Damaged)
}

/// Returns the beginning of an answer as it is stored; of an empty one there is nothing to hide.
pub(super) fn sealed_excerpt(
    sealer: Option<&mut Sealer>,
    event: EventId,
    destination: i64,
    at: i64,
    text: &str,
) -> Value {
    match sealer {
        Some(sealer) if !text.is_empty() => {
            let mut stored = sealer.id().0.to_vec();
            stored.extend(sealer.seal(&excerpt_context(event, destination, at), text.as_bytes()));
            Value::Blob(stored)
        }
        Some(_) | None => Value::Text(text.to_owned()),
    }
}
