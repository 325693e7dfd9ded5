//! The audit chain: each row of the audit table seals all that stands before it.
//!
//! The hash of a row is the SHA-256 of the hash before it, as 32 bytes, and of the row's own five values: number, time
//! (RFC 3339, as documents show it), who, action, detail. Each is written as its length in bytes, a colon, its UTF-8
//! text and a comma, so that no two rows read alike. The first row follows number 0 and 32 zero bytes; where retention
//! has taken rows from the front, number and hash of the last one stay behind.
//!
//! Whoever changes, removes or inserts a row has to write anew all that follow. The chain cannot tell when somebody did
//! so up to its end: that needs a [`Link`] of it that was kept elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use super::record::AuditRow;
use crate::schema;

/// Seals a row and all before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut bytes).map_err(de::Error::custom)?;
        Ok(Self(bytes))
    }
}

impl JsonSchema for Hash {
    fn schema_name() -> Cow<'static, str> {
        "Hash".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(schema::SHA256)
    }
}

/// Is a place in the chain; as text its number, a colon and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The number of the row; 0 before the first.
    pub id: i64,
    /// Its hash.
    pub hash: Hash,
}

impl Link {
    /// Is where every chain begins.
    pub const START: Self = Self { id: 0, hash: Hash([0; 32]) };

    /// Returns the link of the row that follows with these values.
    pub(crate) fn next(&self, at: Timestamp, who: &str, action: &str, detail: &str) -> Self {
        let id = self.id + 1;
        let mut sha = Sha256::new_with_prefix(self.hash.0);
        for value in [&*id.to_string(), &*at.to_string(), who, action, detail] {
            sha.update(format!("{}:{value},", value.len()));
        }
        Self { id, hash: Hash(sha.finalize().into()) }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.hash)
    }
}

/// Says that a text is no place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the number of a row, a colon and 64 hexadecimal digits, as `zoomhook audit verify` prints them")]
pub struct NotALink;

impl FromStr for Link {
    type Err = NotALink;

    fn from_str(text: &str) -> Result<Self, NotALink> {
        let (id, hash) = text.split_once(':').ok_or(NotALink)?;
        let id = id.parse().map_err(|_| NotALink)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash, &mut bytes).map_err(|_| NotALink)?;
        Ok(Self { id, hash: Hash(bytes) })
    }
}

/// Says what does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Rows are missing.
    #[error("row {expected} is missing: row {found} follows row {}", expected - 1)]
    Missing {
        /// The first that is missing.
        expected: i64,
        /// The one that stands in its place.
        found: i64,
    },
    /// A row is not what was sealed.
    #[error("row {id} does not fit: it, or one before it, is not what was written")]
    Changed {
        /// Its number.
        id: i64,
    },
    /// The chain is not the one that a kept link is of.
    #[error("row {id} has another hash than the one that was kept: the chain was written anew")]
    Rewritten {
        /// Its number.
        id: i64,
    },
    /// The chain ends before a kept link.
    #[error("the chain ends with row {last}: row {id}, whose hash was kept, is gone")]
    Shortened {
        /// The number of the kept link.
        id: i64,
        /// The last row that there is.
        last: i64,
    },
    /// The chain begins behind a kept link.
    #[error("row {id}, whose hash was kept, is gone: the rows up to {front} were taken from the front")]
    Outlived {
        /// The number of the kept link.
        id: i64,
        /// The last row that was taken.
        front: i64,
    },
    /// Rows are gone that nothing takes.
    #[error("the rows up to {front} are gone from the front, and spool.audit_retention is not set")]
    Taken {
        /// The last row that was taken.
        front: i64,
    },
}

impl Misfit {
    /// Returns the number of the first row that does not fit.
    pub fn row(&self) -> i64 {
        match *self {
            Self::Missing { expected: id, .. }
            | Self::Changed { id }
            | Self::Rewritten { id }
            | Self::Shortened { id, .. }
            | Self::Outlived { id, .. }
            | Self::Taken { front: id } => id,
        }
    }
}

/// Tells whether a row follows the one before it.
///
/// # Errors
/// When it does not.
pub fn check(previous: &Link, row: &AuditRow) -> Result<(), Misfit> {
    let next = previous.next(row.at, &row.who, &row.action, &row.detail);
    if row.id != next.id {
        return Err(Misfit::Missing { expected: next.id, found: row.id });
    }
    if row.hash != next.hash {
        return Err(Misfit::Changed { id: row.id });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_one_that_others_compute() {
        // By Python: sha256(bytes(32) + b"1:1,24:2026-07-30T10:06:11.123Z,8:operator,5:pause,17:destination caf\xc3\xa9,")
        let at = "2026-07-30T10:06:11.123Z".parse().expect("a time");
        let link = Link::START.next(at, "operator", "pause", "destination café");
        let text = "1:fb5f79f7fd619c2453ec68b2bf7ccc1ae93bc57ad54be796cc680debe48b6bae";
        assert_eq!(link.to_string(), text);
        assert_eq!(text.parse(), Ok(link));
    }

    #[test]
    fn every_value_of_a_row_and_the_one_before_it_are_sealed() {
        let first = Link::START.next(at(1), "a", "b", "c");
        let row = sealed(&first, at(2), "who", "action", "detail");
        assert_eq!(check(&first, &row), Ok(()));
        let changed = Err(Misfit::Changed { id: 2 });
        for forged in [
            AuditRow { at: at(3), ..row.clone() },
            AuditRow { who: "wh".into(), action: "oaction".into(), ..row.clone() },
            AuditRow { action: "actions".into(), ..row.clone() },
            AuditRow { detail: "".into(), ..row.clone() },
        ] {
            assert_eq!(check(&first, &forged), changed, "{forged:?}");
        }
        assert_eq!(check(&Link { hash: Link::START.hash, ..first }, &row), changed, "the one before it");
        assert_eq!(check(&Link::START, &row), Err(Misfit::Missing { expected: 1, found: 2 }));
    }

    #[test]
    fn what_is_no_link_is_refused() {
        for text in ["", "1", "1:", "1:ab", "x:00", &format!("1:{}", "0".repeat(63)), &format!("1:{}", "g".repeat(64))]
        {
            assert_eq!(text.parse::<Link>(), Err(NotALink), "{text}");
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn sealed(previous: &Link, at: Timestamp, who: &str, action: &str, detail: &str) -> AuditRow {
        let Link { id, hash } = previous.next(at, who, action, detail);
        AuditRow { id, at, who: who.into(), action: action.into(), detail: detail.into(), hash }
    }
}
