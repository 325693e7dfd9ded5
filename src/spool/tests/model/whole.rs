//! What must be whole at the end: what was given, bodies, what they are sealed with, and the audit chain.

use std::ops::ControlFlow;

use super::world::State;
use crate::event::EventId;
use crate::spool::audit::check;
use crate::spool::record::EventQuery;
use crate::spool::seal::KeyId;
use crate::spool::store::View;

/// Every body that is there is what was given, byte for byte, and what is parked is listed so.
pub(super) fn bodies(world: &State, view: &mut dyn View) -> Result<(), String> {
    let query = EventQuery { limit: usize::MAX, ..EventQuery::default() };
    let listed = view.events(&query).map_err(|error| error.to_string())?;
    if !listed.iter().rev().map(|row| row.id.0).eq(world.rows.events.keys().copied()) {
        return Err("what is listed is not what is there".to_owned());
    }
    for row in listed {
        let id = row.id.0;
        let detail = view.event(EventId(id)).map_err(|error| format!("event {id}: {error}"))?;
        let body = detail.ok_or_else(|| format!("event {id} is listed, and is not there"))?.body;
        let given = world.events.get(&id).map(|n| &world.given[*n]);
        if given.is_none_or(|given| given.body != body || given.parked != row.parked.is_some()) {
            return Err(format!("event {id} is not what was given"));
        }
    }
    Ok(())
}

/// All that was given in this life is stored, as an event or as a repeat, and the numbers of the events are in the order
/// in which they were given.
pub(super) fn stored(world: &State) -> Result<(), String> {
    let (mut appended, mut stored) = (world.appended.clone(), world.stored.clone());
    appended.sort_unstable();
    stored.sort_unstable();
    if appended != stored {
        return Err(format!("{appended:?} were acknowledged as durable, {stored:?} were stored"));
    }
    let mut given = world.appended.iter();
    match world.numbered.iter().find(|n| !given.any(|given| given == *n)) {
        Some(n) => Err(format!("{n} was given too late for its number: {:?} of {:?}", world.numbered, world.appended)),
        None => Ok(()),
    }
}

/// Every body is sealed with this key, or none is.
pub(super) fn sealed_with(world: &State, key: Option<KeyId>) -> Result<(), String> {
    let Some(look) = &world.look else { return Ok(()) };
    let others: u64 = look
        .query_row("SELECT count(*) FROM bodies WHERE key IS NOT ?1", [key.map(|key| key.0)], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    if others > 0 { Err(format!("{others} bodies are not sealed with {key:?}")) } else { Ok(()) }
}

/// Every row of the audit table is what was written, in its place.
pub(super) fn audit(view: &mut dyn View) -> Result<(), String> {
    let mut misfit = None;
    let chain = view.audit_chain(&mut |previous, row| match check(previous, &row) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            misfit = Some(error.to_string());
            ControlFlow::Break(())
        }
    });
    chain.map_err(|error| error.to_string())?;
    misfit.map_or(Ok(()), Err)
}
