//! ◆ Whether there is room for more: what was measured, and what follows from it.
//!
//! ```text
//!        90 %              95 %                 100 % of max_size
//! ────────┼─────────────────┼─────────────────────┼─────
//!  all is │ delivered events│ dead letters and    │ no event
//!  kept   │ go early        │ parked frames, too, │ is taken,
//!         │                 │ once no delivered   │ until below
//!         │                 │ event is left       │ 95 % again
//! ```
//!
//! With `when_full = "refuse"` nothing goes early. What the write-ahead log takes beyond its share counts as well, but
//! nothing is dropped for it: that would make it longer.

use crate::config::WhenFull;
use crate::spool::store::{Batch, Contents, LOG_BYTES, Size};
use crate::wording::{count, counted, size as bytes};

/// Above this share of `max_size` delivered events go early: far enough from its end that purging stays ahead of what
/// arrives.
const TIGHT_PERCENT: u64 = 90;
/// Above this share dead letters and parked frames go, too. A spool that was full takes events again below it: near
/// enough to its end that little is dropped, far enough that it does not change its mind with every event.
const NARROW_PERCENT: u64 = 95;
/// What the rows of an event take beside its body, at most.
const ROWS_BYTES: u64 = 1024;
/// A log of so many times its share is held by somebody.
const LOG_FAR_BEYOND: u64 = 4;

/// Says what may go before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pressure {
    /// Nothing.
    Nothing,
    /// Delivered events.
    Delivered,
    /// Delivered events; when none is left, dead letters and parked frames, the oldest first.
    Undelivered,
}

/// Says what has changed for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    Nothing,
    /// It is nearly full.
    Narrow,
    /// The write-ahead log is far beyond its share.
    LongLog,
}

/// Is how much there is, as last measured.
pub(super) struct Room {
    max: u64,
    when_full: WhenFull,
    size: Size,
    /// What may still be written before it is worth to measure again.
    unmeasured: u64,
    full: bool,
    narrow_told: bool,
    log_told: bool,
}

impl Room {
    /// Begins with an empty spool: it is measured before the first event is taken.
    pub(super) fn new(max: u64, when_full: WhenFull) -> Self {
        let size = Size::default();
        Self { max, when_full, size, unmeasured: 0, full: false, narrow_told: false, log_told: false }
    }

    /// Returns how many bytes may be written before it must be measured again.
    pub(super) fn left(&self) -> u64 {
        self.unmeasured
    }

    /// Takes note of what a commit wrote; tells whether it is time to measure.
    pub(super) fn took(&mut self, batch: &Batch) -> bool {
        let written: u64 = batch.events.iter().map(|new| weight(&new.event.body)).sum();
        self.unmeasured = self.unmeasured.saturating_sub(written);
        self.unmeasured == 0 && written > 0
    }

    /// Takes note of what was measured.
    pub(super) fn measured(&mut self, size: Size) -> News {
        self.size = size;
        let taken = self.taken();
        self.full = taken >= self.max || self.full && taken > self.mark(NARROW_PERCENT);
        self.unmeasured = self.max.saturating_sub(taken);
        let narrow = taken > self.mark(NARROW_PERCENT);
        let long_log = size.log > LOG_FAR_BEYOND * LOG_BYTES;
        let news = match (long_log && !self.log_told, narrow && !self.narrow_told && !self.full) {
            (true, _) => News::LongLog,
            (false, true) => News::Narrow,
            (false, false) => News::Nothing,
        };
        self.log_told = long_log;
        self.narrow_told = narrow || self.narrow_told && taken > self.mark(TIGHT_PERCENT);
        news
    }

    /// Tells whether it is full.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Takes what is there once more, whatever it comes to: the end has come, and it would be lost.
    pub(super) fn lift(&mut self) {
        self.full = false;
        self.unmeasured = u64::MAX;
    }

    /// Returns what may go before its time.
    pub(super) fn pressure(&self) -> Pressure {
        let pages = self.size.pages;
        match self.when_full {
            WhenFull::Refuse => Pressure::Nothing,
            WhenFull::DropDeliveredFirst if pages > self.mark(NARROW_PERCENT) => Pressure::Undelivered,
            WhenFull::DropDeliveredFirst if pages > self.mark(TIGHT_PERCENT) => Pressure::Delivered,
            WhenFull::DropDeliveredFirst => Pressure::Nothing,
        }
    }

    /// Returns what may go before its time while the disk is full, of whatever: dead letters are not given for that.
    pub(super) fn pressure_on_full_disk(&self) -> Pressure {
        match self.when_full {
            WhenFull::Refuse => Pressure::Nothing,
            WhenFull::DropDeliveredFirst => self.pressure().max(Pressure::Delivered),
        }
    }

    /// Says what fills it, and what to do.
    pub(super) fn words(&self, contents: Contents) -> String {
        let Contents { events, parked, pending, dead } = contents;
        let (taken, max) = (bytes(self.taken()), bytes(self.max));
        let state = if self.full { "full" } else { "nearly full" };
        let mut text = format!(
            "it is {state}: {taken} of its max_size of {max} are taken by {}; {} for a destination, {} dead, {} parked, \
             the rest is delivered",
            counted(events, "event"),
            waiting(pending),
            count(dead),
            count(parked)
        );
        let beyond = self.size.log.saturating_sub(LOG_BYTES);
        if beyond > 0 {
            text.push_str(&format!(", and by {} of write-ahead log beyond its share", bytes(beyond)));
        }
        if self.size.pages <= self.mark(NARROW_PERCENT) {
            text.push_str("; end the backup or sqlite3 that has the file open");
            return text;
        }
        let mut advice = Vec::new();
        if pending > 0 {
            advice.push("bring back the handlers that events wait for (zoomhook status)");
        }
        if dead > 0 {
            advice.push("replay or purge dead letters (zoomhook dead)");
        }
        if parked > 0 {
            advice.push("purge parked frames (zoomhook events purge)");
        }
        advice.push("raise spool.max_size");
        text + "; " + &advice.join(", or ")
    }

    /// Says that the write-ahead log is far beyond its share, and why that is.
    pub(super) fn log_words(&self) -> String {
        format!(
            "the write-ahead log of the spool has grown to {}: somebody has the file open and reads, such as a backup \
             or an sqlite3 shell; end that, and it is cut back to {}",
            bytes(self.size.log),
            bytes(LOG_BYTES)
        )
    }

    fn taken(&self) -> u64 {
        self.size.pages + self.size.log.saturating_sub(LOG_BYTES)
    }

    fn mark(&self, percent: u64) -> u64 {
        self.max / 100 * percent
    }
}

/// Returns what an event with this body takes at most: twice its size, for a row that does not fill its pages takes them
/// all the same.
pub(super) fn weight(body: &[u8]) -> u64 {
    2 * (body.len() as u64 + ROWS_BYTES)
}

fn waiting(pending: u64) -> String {
    format!("{} {}", count(pending), if pending == 1 { "waits" } else { "wait" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1000 << 20;

    #[test]
    fn fuller_is_more_pressure_and_refusing_is_none() {
        use Pressure::{Delivered, Nothing, Undelivered};
        let cases =
            [(0, Nothing), (90, Nothing), (91, Delivered), (95, Delivered), (96, Undelivered), (200, Undelivered)];
        for (percent, expected) in cases {
            let (mut drops, mut refuses) = (room(WhenFull::DropDeliveredFirst), room(WhenFull::Refuse));
            drops.measured(pages(percent));
            refuses.measured(pages(percent));
            assert_eq!((drops.pressure(), refuses.pressure()), (expected, Nothing), "{percent} %");
            assert_eq!((drops.is_full(), refuses.is_full()), (percent >= 100, percent >= 100), "{percent} %");
        }
    }

    #[test]
    fn full_spool_does_not_change_its_mind_with_every_event() {
        let mut room = room(WhenFull::Refuse);
        let seen = [99, 100, 99, 96, 95, 96, 99, 100].map(|percent| {
            room.measured(pages(percent));
            room.is_full()
        });
        assert_eq!(seen, [false, true, true, true, false, false, false, true]);
    }

    #[test]
    fn log_counts_beyond_its_share_and_nothing_is_dropped_for_it() {
        let mut room = room(WhenFull::DropDeliveredFirst);
        assert_eq!(room.measured(Size { pages: MAX / 2, log: LOG_BYTES }), News::Nothing);
        assert_eq!(room.taken(), MAX / 2);
        assert_eq!(room.measured(Size { pages: MAX / 2, log: MAX }), News::LongLog);
        assert_eq!(room.measured(Size { pages: MAX / 2, log: MAX }), News::Nothing, "told once");
        assert!(room.is_full() && room.pressure() == Pressure::Nothing);
        let words = room.words(Contents { events: 5, pending: 5, ..Contents::default() });
        assert!(words.ends_with("; end the backup or sqlite3 that has the file open"), "{words}");
        room.measured(Size { pages: MAX / 2, log: LOG_BYTES });
        assert_eq!(room.measured(Size { pages: MAX / 2, log: MAX }), News::LongLog, "and again, another time");
    }

    #[test]
    fn narrow_room_is_told_once_until_it_was_wide_again() {
        let mut room = room(WhenFull::Refuse);
        let told = [96, 97, 92, 96, 90, 96].map(|percent| room.measured(pages(percent)) == News::Narrow);
        assert_eq!(told, [true, false, false, false, false, true]);
    }

    #[test]
    fn words_say_what_fills_it_and_what_to_do() {
        let mut room = room(WhenFull::DropDeliveredFirst);
        room.measured(pages(100));
        let contents = Contents { events: 1213, parked: 1, pending: 1200, dead: 12 };
        assert_eq!(
            room.words(contents),
            "it is full: 1.0 GB of its max_size of 1.0 GB are taken by 1,213 events; 1,200 wait for a destination, \
             12 dead, 1 parked, the rest is delivered; bring back the handlers that events wait for (zoomhook status), \
             or replay or purge dead letters (zoomhook dead), or purge parked frames (zoomhook events purge), or raise \
             spool.max_size"
        );
        let words = room.words(Contents { events: 3, ..Contents::default() });
        assert!(words.ends_with("the rest is delivered; raise spool.max_size"), "{words}");
    }

    fn room(when_full: WhenFull) -> Room {
        Room::new(MAX, when_full)
    }

    fn pages(percent: u64) -> Size {
        Size { pages: MAX / 100 * percent, log: 0 }
    }
}
