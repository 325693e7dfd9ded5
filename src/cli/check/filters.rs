//! What the filters of destinations may not mean as they stand: a type that is misspelt takes nothing, and says nothing.

use crate::config::filter::{EventFilter, Pattern};
use crate::config::problem::Problem;
use crate::config::{Config, Destination};
use crate::simulator::template::one_of_each_type;
use crate::wording::meant;

/// Says which patterns no known event type fits, and which destinations want nothing. New types do arrive: these are warnings.
pub(in crate::cli) fn doubts(config: &Config) -> Vec<Problem> {
    let known = known();
    config.destinations.iter().flat_map(|destination| of(destination, &known)).collect()
}

/// Says that no known event type fits a pattern, if that is so, and which one may have been meant.
pub(in crate::cli) fn doubt_of(pattern: &Pattern) -> Option<String> {
    doubt(pattern, &known())
}

fn known() -> Vec<String> {
    one_of_each_type().iter().map(|template| template.kind().into_owned()).collect()
}

fn of(destination: &Destination, known: &[String]) -> Vec<Problem> {
    let Destination { name, filter, .. } = destination;
    let problem = |key: &str, message: String| Problem::new(format!("destination {name:?}: {key}"), message);
    let unknown = |key: &'static str, patterns: &[Pattern]| -> Vec<Problem> {
        patterns.iter().filter_map(|pattern| Some(problem(key, doubt(pattern, known)?))).collect()
    };
    let mut problems = unknown("events", &filter.include);
    problems.extend(unknown("exclude", &filter.exclude));
    if wants_nothing(filter) {
        problems.push(problem("exclude", "it takes all that events wants: nothing is delivered".to_owned()));
    }
    problems
}

/// Says that no known type fits a pattern, and which one may have been meant.
fn doubt(pattern: &Pattern, known: &[String]) -> Option<String> {
    if known.iter().any(|kind| pattern.matches(kind)) {
        return None;
    }
    let hint = match pattern {
        Pattern::All => return None,
        Pattern::Exact(name) => meant(name, known).map(str::to_owned),
        Pattern::Prefix(prefix) => {
            let (prefix, dot) = prefix.strip_suffix('.').map_or((&**prefix, ""), |prefix| (prefix, "."));
            let families: Vec<&str> = known.iter().filter_map(|kind| Some(kind.split_once('.')?.0)).collect();
            meant(prefix, &families).map(|family| format!("{family}{dot}*"))
        }
    };
    let hint = hint.map_or_else(|| "is it spelt as Zoom does?".to_owned(), |name| format!("did you mean {name}?"));
    Some(format!("no event type that is known here fits {pattern}: {hint}"))
}

/// Tells whether each pattern that is wanted is left out as a whole.
fn wants_nothing(filter: &EventFilter) -> bool {
    filter.include.iter().all(|wanted| filter.exclude.iter().any(|excluded| covers(excluded, wanted)))
}

fn covers(excluded: &Pattern, wanted: &Pattern) -> bool {
    match (excluded, wanted) {
        (Pattern::All, _) => true,
        (Pattern::Prefix(prefix), Pattern::Prefix(text) | Pattern::Exact(text)) => text.starts_with(&**prefix),
        (Pattern::Exact(name), Pattern::Exact(text)) => name == text,
        (Pattern::Prefix(_) | Pattern::Exact(_), Pattern::All) | (Pattern::Exact(_), Pattern::Prefix(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    #[test]
    fn pattern_that_fits_no_known_type_is_told_with_what_was_meant() {
        let cases = [
            ("meeting.strated", "", Some("fits meeting.strated: did you mean meeting.started?")),
            ("Meeting.Started", "", Some("did you mean meeting.started?")),
            ("meetings.*", "", Some("did you mean meeting.*?")),
            ("totally.different", "", Some("is it spelt as Zoom does?")),
            ("meeting.*", "meeting.paticipant_joined", Some("exclude: no event type")),
            ("meeting.started recording.*", "meeting.* recording.*", Some("nothing is delivered")),
            ("meeting.*", "meeting.started", None),
            ("meeting.participant_*", "", None),
            ("*", "recording.*", None),
        ];
        for (events, exclude, words) in cases {
            let told: Vec<String> =
                of(&destination(events, exclude), &known()).iter().map(Problem::to_string).collect();
            match words {
                Some(words) => assert!(told.len() == 1 && told[0].contains(words), "{events}: {told:?}"),
                None => assert_eq!(told, Vec::<String>::new(), "{events}"),
            }
        }
    }

    fn destination(events: &str, exclude: &str) -> Destination {
        let patterns = |text: &str| text.split_whitespace().map(|word| word.parse().expect("a pattern")).collect();
        let filter = EventFilter { include: patterns(events), exclude: patterns(exclude) };
        let url = "https://a/".parse().expect("a url");
        Destination { filter, ..Destination::new("crm", url, Secret::new("s")) }
    }
}
