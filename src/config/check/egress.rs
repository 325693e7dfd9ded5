//! The rules of `[egress]`, and what they mean for the URLs of a destination.

use url::Url;

use crate::config::allow::AllowList;
use crate::config::authorization::Auth;
use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::host::HostPattern;
use crate::config::proxy::Outbound;

/// Reads the section.
pub(super) fn allow(mut cursor: Cursor<'_>) -> Option<AllowList> {
    let patterns = cursor.take("allow").map(patterns);
    cursor.finish();
    Some(AllowList {
        patterns: match patterns {
            None => None,
            Some(patterns) => Some(patterns?),
        },
    })
}

fn patterns(entry: Entry<'_>) -> Option<Vec<HostPattern>> {
    let place = entry.place();
    let entries = entry.list("hosts and networks")?;
    if entries.is_empty() {
        return place.fail("an empty list allows no destination: leave it out to allow all");
    }
    let pattern = |entry: Entry<'_>| match HostPattern::new(entry.as_word().unwrap_or_default()) {
        Some(pattern) => Some(pattern),
        None => entry.mismatch("a host such as \"crm.internal\", \"*.internal\", or a network such as \"10.0.0.0/8\""),
    };
    let read: Vec<_> = entries.into_iter().map(pattern).collect();
    read.into_iter().collect()
}

/// Says which URLs of a destination can never be connected to.
pub(super) fn judge(
    cursor: &Cursor<'_>,
    allow: &AllowList,
    outbound: &Outbound,
    url: Option<&Url>,
    auth: Option<&Auth>,
) {
    let token_url = match auth {
        Some(Auth::OAuth(oauth)) => Some(&oauth.token_url),
        Some(Auth::None | Auth::VerificationToken(_) | Auth::Basic { .. } | Auth::Bearer(_) | Auth::Header { .. })
        | None => None,
    };
    for (key, url) in [("url", url), ("auth", token_url)] {
        if let Some(Err(forbidden)) = url.map(|url| allow.judge_url(url, outbound)) {
            cursor.place_of(key).fail::<()>(forbidden.to_string());
        }
    }
}
