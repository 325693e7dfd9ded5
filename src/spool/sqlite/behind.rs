//! Where to go on behind rows that cannot be read.

use crate::spool::SpoolError;

/// The highest key that a row can have.
const LAST: u64 = i64::MAX.unsigned_abs();

/// Returns behind which key to go on that comes upon damage at `from`, or in the row of the next key; `None` where no row
/// comes behind. `next` looks for the first key from a number on, and reads nothing else.
///
/// It strides ahead, twice as far each time, to the first number that is known to lie behind the damage, and halves its
/// way back.
pub(super) fn behind(
    from: u64,
    next: impl Fn(u64) -> Result<Option<u64>, SpoolError>,
) -> Result<Option<u64>, SpoolError> {
    let is_damaged = |error: &SpoolError| error.is_damage() || error.is_unread();
    match next(from) {
        Err(error) if is_damaged(&error) => {}
        next => return next,
    }
    let (mut within, mut stride) = (from, 1);
    let mut behind = loop {
        let at = from.saturating_add(stride).min(LAST);
        match next(at) {
            Ok(None) => return Ok(None),
            Ok(Some(_)) => break at,
            Err(error) if !is_damaged(&error) || at == LAST => return Err(error),
            Err(_) => (within, stride) = (at, stride.saturating_mul(2)),
        }
    };
    while behind - within > 1 {
        let middle = within + (behind - within) / 2;
        match next(middle) {
            Ok(_) => behind = middle,
            Err(error) if is_damaged(&error) => within = middle,
            Err(error) => return Err(error),
        }
    }
    Ok(Some(within))
}
