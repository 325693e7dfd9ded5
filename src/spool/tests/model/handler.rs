//! Handlers that behave as they are told, and notice what they must not be asked.

use std::time::Duration;

use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;

use super::action::Mood;
use super::book::{DELIVERED, Place};
use super::world::{State, World};
use crate::config::Ordering;
use crate::config::secret::Secret;
use crate::webhook::request::{Outgoing, REQUEST_ID};
use crate::webhook::signature::Signer;
use crate::webhook::verdict::{Answer, SendError};

pub(super) type Client = BoxCloneSyncService<Outgoing, Answer, SendError>;

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Is a request on its way: about a thing, if its destination keeps an order.
struct Flight {
    world: World,
    destination: i64,
    event: Option<u64>,
    about: Option<(i64, u64)>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        {
            let mut world = self.world.lock();
            let now = world.clock.now();
            world.breakers.ended(self.destination, self.event, now);
        }
        if let Some(about) = self.about {
            *self.world.lock().in_flight.entry(about).or_default() -= 1;
        }
    }
}

/// Makes the client of a destination, which keeps this order.
pub(super) fn client(world: &World, number: usize, destination: i64, ordering: Ordering) -> Client {
    let world = world.clone();
    BoxCloneSyncService::new(tower::service_fn(move |outgoing: Outgoing| {
        let world = world.clone();
        async move {
            let arrived = world.lock().arrive(number, destination, ordering, &outgoing);
            let Arrived { place, about, takes, answer } = arrived;
            let flight = Flight { world: world.clone(), destination, event: place.map(|place| place.1), about };
            tokio::time::sleep(takes).await;
            let is_well = matches!(answer, Ok(Answer { status: 200..300, .. }));
            if let (Some(place), true) = (place, is_well) {
                world.lock().taken.insert(place);
            }
            drop(flight);
            if is_well {
                world.lock().breakers.took(destination);
            }
            answer
        }
    }))
}

struct Arrived {
    place: Option<Place>,
    about: Option<(i64, u64)>,
    takes: Duration,
    answer: Result<Answer, SendError>,
}

impl State {
    fn arrive(&mut self, number: usize, destination: i64, ordering: Ordering, outgoing: &Outgoing) -> Arrived {
        let (takes, mut answer) = self.behave(number);
        let checked = self.may_ask(destination);
        self.hold(checked);
        let body: Value = serde_json::from_slice(&outgoing.body).expect("JSON");
        if let Some(plain) = body["payload"]["plainToken"].as_str() {
            if let Ok(answer) = &mut answer {
                let encrypted = Signer::new(&Secret::new("first")).validation_token(plain);
                answer.excerpt = json!({ "plainToken": plain, "encryptedToken": encrypted }).to_string();
            }
            self.say(|| format!("{destination} is asked: {answer:?} after {takes:?}"));
            let checked = self.breakers.arrived(destination, None, self.clock.now());
            self.hold(checked);
            self.count("probes");
            return Arrived { place: None, about: None, takes, answer };
        }
        let request = outgoing.headers[REQUEST_ID].to_str().expect("text");
        let Some(event) = self.by_request.get(request).copied() else {
            self.hold(Err(format!("{destination} was sent what is not stored: {body}")));
            return Arrived { place: None, about: None, takes, answer };
        };
        let given = &self.given[self.events[&event]];
        let (thing, is_same) = (given.thing, given.body == outgoing.body);
        self.say(|| format!("{destination}:{event} is posted: {answer:?} after {takes:?}"));
        let place = (destination, event);
        let checked = self.breakers.arrived(destination, Some(event), self.clock.now());
        self.hold(checked);
        if !is_same {
            self.hold(Err(format!("the body of {place:?} was changed on its way")));
        }
        let state = self.rows.deliveries.get(&place).map(|row| row.state);
        if state.is_none_or(|state| state >= DELIVERED) {
            self.hold(Err(format!("{place:?} was posted in state {state:?}")));
        }
        *self.posts.entry(place).or_default() += 1;
        // It is noted whatever the order, and looked at where one is kept.
        let about = thing.map(|thing| (destination, thing));
        if let Some(about) = about {
            let others = self.in_flight.entry(about).or_default();
            *others += 1;
            if *others > 1 && ordering != Ordering::None {
                self.hold(Err(format!("two requests at once about thing {} of {destination}: {event}", about.1)));
            }
        }
        Arrived { place: Some(place), about, takes, answer }
    }

    fn behave(&mut self, number: usize) -> (Duration, Result<Answer, SendError>) {
        let status = |status, retry_after: Option<&str>| {
            Ok(Answer { status, retry_after: retry_after.map(str::to_owned), excerpt: String::new() })
        };
        let quick = self.dice.millis(40);
        let mut mood = self.moods[number];
        if mood == Mood::Mixed {
            let moods = [
                Mood::Well,
                Mood::Well,
                Mood::Slow,
                Mood::Down,
                Mood::Gone,
                Mood::Unauthorized,
                Mood::Cuts,
                Mood::Stale,
            ];
            mood = self.dice.pick(&moods);
        }
        match mood {
            Mood::Well | Mood::Mixed => (quick, status(200, None)),
            Mood::Slow => (self.dice.millis(3000), status(204, None)),
            Mood::Down => (quick, status(503, None)),
            Mood::Busy => (quick, status(429, Some("20"))),
            Mood::Gone => (quick, status(410, None)),
            Mood::Unauthorized => (quick, status(401, None)),
            Mood::Absent => (Duration::ZERO, Err(SendError::Refused)),
            Mood::Hangs => (TIMEOUT, Err(SendError::Timeout)),
            Mood::Cuts => (quick, Err(SendError::Cut("reset".to_owned()))),
            Mood::Stale => (quick, Err(SendError::Stale("closed".to_owned()))),
        }
    }
}
