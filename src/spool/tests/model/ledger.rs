//! The truth about the socket, and the ledger of gaps beside it.

use rusqlite::Connection;

/// How often a sign of life is stored, as a socket does it.
const ALIVE_MS: i64 = 30_000;

/// Is what is true of the socket, in milliseconds since 1970.
pub(super) struct Truth {
    /// Since when it is not live.
    down_since: Option<i64>,
    /// When it was not live.
    down: Vec<(i64, i64)>,
    /// When something was received that a crash took.
    lost: Vec<i64>,
    alive_at: Option<i64>,
    heard_at: i64,
    /// The clock was set: there is more than one time of day for a moment.
    pub(super) is_vague: bool,
}

type Gap = (i64, Option<i64>);

impl Truth {
    pub(super) fn new(now: i64) -> Self {
        Self {
            down_since: Some(now),
            down: Vec::new(),
            lost: Vec::new(),
            alive_at: None,
            heard_at: now,
            is_vague: false,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.down_since.is_none()
    }

    pub(super) fn up(&mut self, now: i64) {
        if let Some(since) = self.down_since.take() {
            self.down.push((since, now));
            self.heard_at = now;
            self.alive_at = Some(now);
        }
    }

    /// Returns when the socket was last heard.
    pub(super) fn went_down(&mut self, now: i64) -> i64 {
        self.down_since = Some(self.down_since.unwrap_or(now));
        self.heard_at
    }

    /// Takes note that the socket was heard; tells whether that is to be stored.
    pub(super) fn heard(&mut self, now: i64) -> bool {
        self.heard_at = now;
        let is_due = self.alive_at.is_none_or(|at| now < at || now - at >= ALIVE_MS);
        if is_due {
            self.alive_at = Some(now);
        }
        is_due
    }

    /// Takes note that the process ended, and with it what had been received so and was not durable.
    pub(super) fn ended(&mut self, now: i64, lost: impl Iterator<Item = i64>) {
        self.down_since = Some(self.down_since.unwrap_or(now));
        self.lost.extend(lost);
        self.alive_at = None;
    }

    /// Holds the ledger against it, once all that was told is durable.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), String> {
        let (gaps, counted) = read(connection).map_err(|error| error.to_string())?;
        let closed: Vec<(i64, i64)> = gaps.iter().filter_map(|(from, to)| Some((*from, (*to)?))).collect();
        let open: Vec<i64> = gaps.iter().filter(|(_, to)| to.is_none()).map(|(from, _)| *from).collect();
        let sum: i64 = closed.iter().map(|(from, to)| to - from).sum();
        if counted != (closed.len() as i64, sum) {
            return Err(format!("the ledger counts {counted:?}, and holds {closed:?}"));
        }
        if open.len() > 1 || open.is_empty() != self.is_live() {
            return Err(format!("the socket is live: {}, and gaps are open: {open:?}", self.is_live()));
        }
        if let Some(gap) = closed.iter().find(|(from, to)| to <= from) {
            return Err(format!("a gap has no length: {gap:?} of {gaps:?}"));
        }
        if self.is_vague {
            return Ok(());
        }
        if let Some(pair) = closed.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            return Err(format!("gaps overlap: {pair:?}"));
        }
        let covers = |from: i64, to: Option<i64>| {
            let ends = |end: Option<i64>| end.is_none_or(|end| to.is_some_and(|to| to <= end));
            gaps.iter().any(|(begin, end)| *begin <= from && ends(*end))
        };
        let down = self.down.iter().map(|(from, to)| (*from, Some(*to))).chain(self.down_since.map(|at| (at, None)));
        let mut down = down.chain(self.lost.iter().map(|at| (*at, Some(*at))));
        match down.find(|(from, to)| !covers(*from, *to)) {
            Some(down) => Err(format!("no socket was live in {down:?}, and the ledger has {gaps:?}")),
            None => Ok(()),
        }
    }
}

/// Reads the gaps, oldest first, and how many ended ones are counted, and how long.
fn read(connection: &Connection) -> rusqlite::Result<(Vec<Gap>, (i64, i64))> {
    let mut statement = connection.prepare_cached("SELECT opened_at, closed_at FROM gaps ORDER BY id")?;
    let gaps = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut statement =
        connection.prepare_cached("SELECT coalesce(sum(gaps), 0), coalesce(sum(gap_ms), 0) FROM subscriptions")?;
    Ok((gaps, statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?))
}
