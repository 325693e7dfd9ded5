//! What `start` of a destination comes to, with the spool as it is.

use serde::Serialize;

use crate::config::{Config, Start};
use crate::spool::{SpoolError, open_view};

/// Is a destination that does not simply start now.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct LateJoiner<'a> {
    /// Its name.
    destination: &'a str,
    /// What its `start` means, in words.
    meaning: String,
}

/// Is what is known of the destinations of a spool.
enum Known {
    Names(Vec<Box<str>>),
    /// It cannot be read now.
    Nothing,
}

impl LateJoiner<'_> {
    /// Writes it as a line.
    pub(super) fn line(&self) -> String {
        format!("  {:<32} {}", self.destination, self.meaning)
    }
}

/// Looks into the spool, if there is one, for what the `start` of each destination means.
pub(super) fn late_joiners(config: &Config) -> Vec<LateJoiner<'_>> {
    let known = match open_view(&config.spool.path).and_then(|mut view| view.destinations()) {
        Ok(rows) => Known::Names(rows.into_iter().map(|row| row.name).collect()),
        Err(SpoolError::Missing(_)) => Known::Names(Vec::new()),
        Err(_) => Known::Nothing,
    };
    let joiners = config.destinations.iter().filter_map(|destination| {
        let kept = match destination.start {
            Start::Now => return None,
            Start::Beginning => "everything that is kept and that it wants".to_owned(),
            Start::At(at) => format!("what was received since {at}, is kept, and that it wants"),
        };
        let meaning = match &known {
            Known::Names(names) if names.iter().any(|name| **name == *destination.name) => {
                "known to the spool already: start has no effect any more; use zoomhook events replay --to".to_owned()
            }
            Known::Names(_) => format!("new to the spool: it is given {kept}"),
            Known::Nothing => format!("if it is new to the spool, it is given {kept}"),
        };
        Some(LateJoiner { destination: &destination.name, meaning })
    });
    joiners.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::config::allow::AllowList;
    use crate::config::filter::EventFilter;
    use crate::config::secret::Secret;
    use crate::config::tls::TlsDefaults;
    use crate::config::{Admin, Destination, Log, LogFormat, Spool};
    use crate::spool::{Destined, Routes};

    #[tokio::test]
    async fn start_is_explained_with_the_spool_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().join("zoomhook.db"));
        let destination = |name: &str, start| Destination {
            start,
            ..Destination::new(name, "https://a/".parse().expect("a url"), Secret::new("s"))
        };
        let at = "2026-07-30T10:00:00Z".parse().expect("a time");
        let config = Config {
            subscriptions: Vec::new(),
            destinations: vec![
                destination("now", Start::Now),
                destination("old", Start::Beginning),
                destination("new", Start::At(at)),
            ],
            tls: TlsDefaults::NONE,
            allow: AllowList::default(),
            spool: spool.clone(),
            admin: Admin { listen: None, token: None, viewer_token: None, tls: None, ca_file: None, client: None },
            log: Log { format: LogFormat::Text, level: Log::LEVEL },
            traces: None,
            grace: Config::GRACE,
        };
        let meanings = || late_joiners(&config).into_iter().map(|joiner| joiner.meaning).collect::<Vec<_>>();
        assert!(meanings().len() == 2 && meanings().iter().all(|text| text.starts_with("new to the spool")));

        let (running, writer) = crate::spool::Spool::open(&spool, Clock::system(), Arc::default()).expect("opens");
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::spawn(move || writer.run(&runtime));
        let old = Destined { name: "old".into(), filter: EventFilter::all(), start: Start::Now };
        running.route(Routes { destinations: vec![old], ..Routes::default() }).await.expect("open");
        assert!(meanings()[0].starts_with("known to the spool already"), "{:?}", meanings());
        assert!(meanings()[1].contains("since 2026-07-30T10:00:00Z"), "{:?}", meanings());
        running.close().await.expect("open");
        tokio::task::spawn_blocking(|| thread.join()).await.expect("joined").expect("no panic");
        std::fs::write(&spool.path, "no database, but long enough to have a header of one, as it should be for this")
            .expect("written");
        assert!(meanings()[0].starts_with("if it is new"), "{:?}", meanings());
    }
}
