//! Where traces are sent, as it may be shown.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::authorization;
use crate::config::address::masked;
use crate::config::traces::Traces;

#[derive(Serialize)]
pub(super) struct ShownTraces<'a> {
    endpoint: String,
    sample: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<&'a Path>,
    // A table: TOML wants it last.
    headers: BTreeMap<&'a str, &'a str>,
}

impl<'a> ShownTraces<'a> {
    pub(super) fn of(traces: &'a Traces) -> Self {
        let Traces { endpoint, headers, sample, ca_file, allow: _ } = traces;
        Self {
            endpoint: masked(endpoint),
            sample: sample.to_string(),
            ca_file: ca_file.as_deref(),
            headers: headers.iter().map(authorization::header).collect(),
        }
    }
}
