//! What documents say of values that their type alone does not tell: moments, hashes, names of events.
//!
//! Types that go into documents of the admin port derive their JSON Schema, from which its OpenAPI document is made.
//! Where serde writes a type of another crate, or a text of a form of its own, the schema comes from here.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The largest number of a row: the spool counts in 64 bits with a sign.
pub(crate) const ROW_MOST: u64 = i64::MAX.unsigned_abs();
/// An event name, one that ends with a star, or the star alone.
pub(crate) const EVENT_PATTERN: &str = r"^(\*|[A-Za-z0-9._-]+\*?)$";
/// 32 bytes as documents write them.
pub(crate) const SHA256: &str = "^[0-9a-f]{64}$";

/// Stands for a `jiff::Timestamp`: RFC 3339 in UTC.
pub(crate) struct Moment;

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Stands for a time that a request names.
pub(crate) struct MomentOrAge;

impl JsonSchema for MomentOrAge {
    fn schema_name() -> Cow<'static, str> {
        "MomentOrAge".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time in RFC 3339, in UTC such as `2026-11-24 09:00`, or an age such as `24h` or `1d 12h`.",
            "type": "string",
            "minLength": 1,
            "examples": ["24h", "2026-11-24T10:00:00Z"],
        })
    }
}

/// Returns the schema of a text that fits a regular expression.
pub(crate) fn text(pattern: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": pattern })
}
