//! The order in which JavaScript keeps the members of an object.
//!
//! `OrdinaryOwnPropertyKeys` of ECMAScript: first the keys that are array indices, ascending, then the others in the
//! order in which they were first set. `JSON.parse` sets a key that comes again to the later value.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Up to so many keys are compared each with each; more are sorted, which allocates.
const FEW: usize = 64;

/// Is where a member stands in the output.
#[derive(Clone, Copy)]
pub(super) struct Member {
    /// The opening quote of its key.
    pub(super) start: usize,
    /// Behind the closing quote of its key.
    pub(super) key_end: usize,
    /// Behind its value.
    pub(super) end: usize,
}

/// Returns the members that stay, in the order in which they stay; `None` when that is as they are.
pub(super) fn order(output: &[u8], members: &[Member]) -> Option<Vec<Member>> {
    // The one spelling of a key stands for the key.
    let key = |member: &Member| &output[member.start..member.key_end];
    if is_ordered(members.iter().map(key)) && !has_repeats(members, key) {
        return None;
    }
    let mut places = BTreeMap::new();
    let mut order: Vec<Member> = Vec::with_capacity(members.len());
    for member in members {
        match places.entry(key(member)) {
            Entry::Vacant(place) => {
                place.insert(order.len());
                order.push(*member);
            }
            Entry::Occupied(place) => order[*place.get()] = *member,
        }
    }
    // Stable: the others keep their order.
    order.sort_by_key(|member| array_index(key(member)).map_or(u64::MAX, u64::from));
    Some(order)
}

/// Tells whether the array indices come first, ascending.
fn is_ordered<'a>(keys: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut least = Some(0);
    for key in keys {
        match (array_index(key), least) {
            (Some(index), Some(bound)) if index >= bound => least = Some(index),
            (Some(_), _) => return false,
            (None, _) => least = None,
        }
    }
    true
}

fn has_repeats<'a>(members: &[Member], key: impl Fn(&Member) -> &'a [u8]) -> bool {
    if members.len() > FEW {
        let mut keys: Vec<_> = members.iter().map(key).collect();
        keys.sort_unstable();
        return keys.windows(2).any(|pair| pair[0] == pair[1]);
    }
    members.iter().enumerate().any(|(place, member)| {
        let key_of_member = key(member);
        members[..place].iter().any(|earlier| key(earlier) == key_of_member)
    })
}

/// Reads a key, in quotes, as an array index: 0 to 4294967294 without leading zeros.
fn array_index(key: &[u8]) -> Option<u32> {
    let digits = &key[1..key.len() - 1];
    match digits {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() < 10 => {
            str::from_utf8(digits).ok()?.parse().ok().filter(|index| *index != u32::MAX)
        }
        _ => None,
    }
}
