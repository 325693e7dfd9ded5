//! Asking handlers on request, beside all that runs.

use crate::admin::{Probe, ProbeRequest};
use crate::clock::Clock;
use crate::config::Destination;
use crate::webhook;

/// Asks the handler that is meant, for as long as somebody waits for the answer.
pub(super) fn answer(request: ProbeRequest, destinations: &[Destination], clock: &Clock) {
    let ProbeRequest { destination: name, mut reply } = request;
    let Some(destination) = destinations.iter().find(|destination| *destination.name == *name).cloned() else {
        // Whoever asked may have gone.
        let _ = reply.send(None);
        return;
    };
    let clock = clock.clone();
    tokio::spawn(async move {
        let began = clock.instant();
        let outcome = tokio::select! {
            asked = webhook::probe::probe(&destination, &clock) => match asked {
                Ok(outcome) => outcome.map(drop).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
            () = reply.closed() => return,
        };
        let _ = reply.send(Some(Probe { elapsed: began.elapsed(), outcome }));
    });
}
