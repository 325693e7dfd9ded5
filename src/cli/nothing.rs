//! What is said where nothing fits: a slip of the pen must not look like good news.

use super::check::filters::doubt_of;
use super::dead::groups;
use super::documents::{Documents, understood};
use crate::admin::document::DeadGroups;
use crate::config::filter::Pattern;
use crate::spool::record::{DeadGroup, DeadQuery};
use crate::wording::{count, list};

/// Causes that are named; more would be a list of their own.
const NAMED: usize = 5;

/// Says that no event type fits a pattern that is known here, and which one may have been meant; empty where one fits.
pub(super) fn of_type(kind: Option<&Pattern>) -> String {
    kind.and_then(doubt_of).map_or(String::new(), |doubt| format!("; {doubt}"))
}

/// Says which dead letters there are where none fits a choice; empty where that cannot be read.
pub(super) async fn of_dead(documents: &Documents, destination: Option<&str>, kind: Option<&Pattern>) -> String {
    let query = DeadQuery { destination: destination.map(str::to_owned), ..DeadQuery::default() };
    let found = groups(documents, &query).await.and_then(|text| understood::<DeadGroups>(&text));
    let there =
        found.map_or(String::new(), |DeadGroups { groups, .. }| format!(": {}", there_are(&groups, destination)));
    there + &of_type(kind)
}

fn there_are(groups: &[DeadGroup], destination: Option<&str>) -> String {
    let mut causes: Vec<(&str, u64)> = Vec::new();
    for DeadGroup { cause, count, .. } in groups {
        match causes.iter_mut().find(|(known, _)| *known == &**cause) {
            Some((_, sum)) => *sum += count,
            None => causes.push((cause, *count)),
        }
    }
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut named: Vec<String> =
        causes.iter().take(NAMED).map(|(cause, n)| format!("`{cause}` ({})", count(*n))).collect();
    if let more @ 1.. = causes.len().saturating_sub(NAMED) {
        named.push(format!("{} more causes", count(more as u64)));
    }
    match (named.is_empty(), destination) {
        (true, None) => "there is none".to_owned(),
        (true, Some(name)) => format!("{name} has none"),
        (false, None) => format!("there are those of {}", list(&named)),
        (false, Some(name)) => format!("{name} has those of {}", list(&named)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    #[test]
    fn causes_that_there_are_are_named_the_most_frequent_first() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let group = |destination: &str, cause: &str, count| DeadGroup {
            destination: destination.into(),
            cause: cause.into(),
            count,
            oldest_at: at,
            newest_at: at,
            sample: EventId(1),
        };
        assert_eq!(there_are(&[], None), "there is none");
        assert_eq!(there_are(&[], Some("crm")), "crm has none");
        let some = [group("crm", "timeout", 1100), group("audit", "status 404", 700), group("crm", "status 404", 700)];
        assert_eq!(there_are(&some, None), "there are those of `status 404` (1,400) and `timeout` (1,100)");
        assert_eq!(there_are(&some[..1], Some("crm")), "crm has those of `timeout` (1,100)");
        let many: Vec<DeadGroup> = (0..8).map(|n| group("crm", &format!("status 40{n}"), 9 - n)).collect();
        assert!(there_are(&many, None).ends_with("`status 404` (5) and 3 more causes"));
    }

    #[test]
    fn type_that_nobody_knows_is_told_with_what_was_meant() {
        let told = |text: &str| of_type(Some(&text.parse().expect("a pattern")));
        assert!(told("meeting.strated").ends_with("did you mean meeting.started?"));
        assert_eq!(told("meeting.*") + &of_type(None), "");
    }
}
