//! The rules of `[traces]`.

use url::Url;

use super::{Purpose, authorization};
use crate::config::address::Protocol;
use crate::config::allow::AllowList;
use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::proxy::Outbound;
use crate::config::traces::{Sample, Traces};

/// Reads where traces go; `Some(None)` is nowhere. Whoever only looks after a bridge needs none of its secrets.
pub(super) fn traces(root: &mut Cursor<'_>, purpose: Purpose, allow: Option<&AllowList>) -> Option<Option<Traces>> {
    if purpose == Purpose::Operate {
        root.skip("traces");
        return Some(None);
    }
    let Some(entry) = root.take("traces") else { return Some(None) };
    let place = entry.place();
    let mut cursor = Cursor::inside(entry, "a section [traces]")?;
    let endpoint = cursor.require("endpoint", "the URL of the collector, such as \"http://127.0.0.1:4318\"");
    let endpoint = endpoint.and_then(|entry| super::url(entry, Protocol::Http)).map(with_path);
    let headers = cursor.take("headers").map_or(Some(Vec::new()), authorization::collector_headers);
    let sample = cursor.take("sample").map_or(Some(Sample::ALL), sample);
    if let (Some(endpoint), Some(allow)) = (&endpoint, allow)
        && let Err(forbidden) = allow.judge_url(endpoint, &Outbound::DIRECT)
    {
        cursor.place_of("endpoint").fail::<()>(forbidden.to_string());
    }
    let ca_file = cursor.take("ca_file").map_or(Some(None), |entry| entry.certificates().map(Some));
    cursor.finish();
    if !cfg!(feature = "otel") {
        return place.fail("this build sends no traces: take the section out, or build zoomhook with --features otel");
    }
    Some(Some(Traces {
        endpoint: endpoint?,
        headers: headers?,
        sample: sample?,
        ca_file: ca_file?,
        allow: allow?.clone(),
    }))
}

/// Adds the usual path to a URL that has none.
fn with_path(mut endpoint: Url) -> Url {
    if endpoint.path() == "/" {
        endpoint.set_path(Traces::PATH);
    }
    endpoint
}

fn sample(entry: Entry<'_>) -> Option<Sample> {
    match entry.as_word().unwrap_or_default().parse() {
        Ok(sample) => Some(sample),
        Err(_) => entry.mismatch("a share such as \"10%\", more than \"0%\" and at most \"100%\""),
    }
}
