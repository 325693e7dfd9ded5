//! The text form of faults: names, values, and what is wrong with them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::{ConnectFault, Cut, Evict, Faults, FlowFault, HeartbeatFault, OpeningFault, RetryForm, TokenFault};

/// Every name with the value that it takes and what it does, in the order of a connection's life.
pub const NAMES: [(&str, &str, &str); 46] = [
    ("token-slow", "DURATION", "the token comes late"),
    ("token-hang", "", "the token endpoint never answers"),
    ("token-status", "CODE", "the token endpoint answers with this status"),
    ("token-retry-after", "FORM:DURATION", "429 with a Retry-After as seconds, date or iso"),
    ("token-html", "", "the token endpoint answers with a web page"),
    ("token-empty", "", "the token endpoint answers with an empty body"),
    ("token-bare", "", "the token comes without expires_in, scope and api_url"),
    ("token-refused", "TEXT", "the token endpoint answers 400 in these words"),
    ("token-refuse-grant", "GRANT", "account_credentials or client_credentials is refused"),
    ("token-single", "", "a new token cancels the ones before it"),
    ("tcp-silent", "", "connections are accepted and nothing is said on them"),
    ("connect-status", "CODE", "the upgrade is answered with this status"),
    ("connect-hang", "", "the upgrade is never answered"),
    ("open-silent", "", "101, then nothing"),
    ("open-late", "DURATION", "101, then the first frame comes late"),
    ("open-refused", "TEXT", "101, then a refusal in these words"),
    ("open-refused-in-turn", "", "101, then a refusal, each time in other words"),
    ("open-event-first", "", "an event comes before the first frame"),
    ("open-bare", "", "the first frame has neither content nor header"),
    ("evict-newer", "", "of two sockets the newer one is closed"),
    ("evict-nobody", "", "two sockets of a subscription live side by side"),
    ("evict-as", "CUT", "how the evicted one is closed (default 1000)"),
    ("rival", "DURATION", "another client evicts each socket when it has lived so long"),
    ("heartbeat-ignored", "", "heartbeats get no answer"),
    ("heartbeat-late", "DURATION", "heartbeats are answered late"),
    ("heartbeat-refused", "", "heartbeats are answered success:false"),
    ("events-late", "DURATION", "events come late"),
    ("events-burst", "DURATION", "events gather and come all at once, this often"),
    ("events-reversed", "N", "so many events gather and come all at once, the newest first"),
    ("events-withheld", "", "heartbeats are answered, and no event comes"),
    ("frame-object", "", "content is an object, not a string"),
    ("frame-header", "", "header has values"),
    ("frame-fields", "", "frames have unknown fields"),
    ("frame-reordered", "", "the fields of frames stand in another order"),
    ("frame-fragmented", "", "frames come in fragments"),
    ("frame-binary", "", "frames are binary"),
    ("frame-garbage", "", "a frame that is no JSON precedes each event"),
    ("frame-text", "", "a frame whose content is no JSON precedes each event"),
    ("frame-unknown", "", "a frame of an unknown module precedes each event"),
    ("frame-repeat", "", "each event comes twice"),
    ("frame-large", "SIZE", "bodies are padded to this size, such as 3MiB"),
    ("ping", "DURATION", "the server pings this often"),
    ("idle-close", "DURATION", "a socket that says nothing for so long is ended"),
    ("close-at-expiry", "", "a socket is ended when its token expires"),
    ("drop-every", "DURATION", "each socket is ended when it has lived so long"),
    ("drop-as", "CUT", "how the last three end a socket: a close code, fin, reset or silent (default 1000)"),
];

/// The largest padding: four times what a client must accept, little enough to build one for each event.
const MAX_LARGE: usize = 16 << 20;

/// The most events that gather: enough to be a burst, few enough to hold.
const MAX_GATHERED: usize = 1000;

const CUT: &str = "a close code from 1000 to 4999, `fin`, `reset` or `silent`";

/// Says why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFault {
    /// The name is not in [`NAMES`].
    #[error("no fault is called `{0}`; `zoomhook simulate --help` lists their names")]
    Unknown(String),
    /// The value does not fit the name.
    #[error("`{name}` takes {wanted}, not `{value}`")]
    Value {
        /// Name of the fault.
        name: String,
        /// What it was given.
        value: String,
        /// What it takes.
        wanted: &'static str,
    },
}

impl Faults {
    /// Switches one fault on, in its text form `NAME` or `NAME=VALUE`.
    ///
    /// # Errors
    /// When no fault has this name or its value does not fit.
    pub fn set(&mut self, text: &str) -> Result<(), BadFault> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let value = Value { name, value };
        match name {
            "token-slow" => self.token = Some(TokenFault::Slow(value.duration()?)),
            "token-hang" => self.token = Some(value.none(TokenFault::Hang)?),
            "token-status" => self.token = Some(TokenFault::Status(value.status()?)),
            "token-retry-after" => self.token = Some(value.retry_after()?),
            "token-html" => self.token = Some(value.none(TokenFault::Html)?),
            "token-empty" => self.token = Some(value.none(TokenFault::Empty)?),
            "token-bare" => self.token = Some(value.none(TokenFault::Bare)?),
            "token-refused" => self.token = Some(TokenFault::Refused(value.text("the wording")?)),
            "token-refuse-grant" => self.token = Some(TokenFault::RefuseGrant(value.text("a grant")?)),
            "token-single" => self.token_single = value.none(true)?,
            "tcp-silent" => self.connect = Some(value.none(ConnectFault::Silent)?),
            "connect-status" => self.connect = Some(ConnectFault::Status(value.status()?)),
            "connect-hang" => self.connect = Some(value.none(ConnectFault::Hang)?),
            "open-silent" => self.opening = Some(value.none(OpeningFault::Silent)?),
            "open-late" => self.opening = Some(OpeningFault::Late(value.duration()?)),
            "open-refused" => self.opening = Some(OpeningFault::Refused(value.text("the wording")?)),
            "open-refused-in-turn" => self.opening = Some(value.none(OpeningFault::RefusedInTurn)?),
            "open-event-first" => self.opening = Some(value.none(OpeningFault::EventFirst)?),
            "open-bare" => self.opening = Some(value.none(OpeningFault::Bare)?),
            "evict-newer" => self.evict = value.none(Evict::Newer)?,
            "evict-nobody" => self.evict = value.none(Evict::Nobody)?,
            "evict-as" => self.evict_as = value.cut()?,
            "rival" => self.rival = Some(value.duration()?),
            "heartbeat-ignored" => self.heartbeat = Some(value.none(HeartbeatFault::Ignored)?),
            "heartbeat-late" => self.heartbeat = Some(HeartbeatFault::Late(value.duration()?)),
            "heartbeat-refused" => self.heartbeat = Some(value.none(HeartbeatFault::Refused)?),
            "events-late" => self.flow = Some(FlowFault::Late(value.duration()?)),
            "events-burst" => self.flow = Some(FlowFault::Burst(value.duration()?)),
            "events-reversed" => self.flow = Some(FlowFault::Reversed(value.gathered()?)),
            "events-withheld" => self.flow = Some(value.none(FlowFault::Withheld)?),
            "frame-object" => self.frames.object = value.none(true)?,
            "frame-header" => self.frames.header = value.none(true)?,
            "frame-fields" => self.frames.fields = value.none(true)?,
            "frame-reordered" => self.frames.reordered = value.none(true)?,
            "frame-fragmented" => self.frames.fragmented = value.none(true)?,
            "frame-binary" => self.frames.binary = value.none(true)?,
            "frame-garbage" => self.frames.garbage = value.none(true)?,
            "frame-text" => self.frames.text = value.none(true)?,
            "frame-unknown" => self.frames.unknown = value.none(true)?,
            "frame-repeat" => self.frames.repeat = value.none(true)?,
            "frame-large" => self.frames.large = Some(value.size()?),
            "ping" => self.ping = Some(value.duration()?),
            "idle-close" => self.idle_close = Some(value.duration()?),
            "close-at-expiry" => self.close_at_expiry = value.none(true)?,
            "drop-every" => self.drop_every = Some(value.duration()?),
            "drop-as" => self.drop_as = value.cut()?,
            _ => return Err(BadFault::Unknown(name.to_owned())),
        }
        Ok(())
    }

    /// Shows every fault that is on in its text form.
    pub fn texts(&self) -> Vec<String> {
        let flag = |on: bool, name: &str| on.then(|| name.to_owned());
        let timed = |every: Option<Duration>, name: &str| every.map(|every| format!("{name}={}", Span(every)));
        let cut = |cut: Cut, name: &str| (cut != Cut::default()).then(|| format!("{name}={cut}"));
        let frames = &self.frames;
        [
            self.token.as_ref().map(ToString::to_string),
            flag(self.token_single, "token-single"),
            self.connect.as_ref().map(ToString::to_string),
            self.opening.as_ref().map(ToString::to_string),
            match self.evict {
                Evict::Older => None,
                Evict::Newer => Some("evict-newer".to_owned()),
                Evict::Nobody => Some("evict-nobody".to_owned()),
            },
            cut(self.evict_as, "evict-as"),
            timed(self.rival, "rival"),
            self.heartbeat.as_ref().map(ToString::to_string),
            self.flow.as_ref().map(ToString::to_string),
            flag(frames.object, "frame-object"),
            flag(frames.header, "frame-header"),
            flag(frames.fields, "frame-fields"),
            flag(frames.reordered, "frame-reordered"),
            flag(frames.fragmented, "frame-fragmented"),
            flag(frames.binary, "frame-binary"),
            flag(frames.garbage, "frame-garbage"),
            flag(frames.text, "frame-text"),
            flag(frames.unknown, "frame-unknown"),
            flag(frames.repeat, "frame-repeat"),
            frames.large.map(|size| format!("frame-large={size}")),
            timed(self.ping, "ping"),
            timed(self.idle_close, "idle-close"),
            flag(self.close_at_expiry, "close-at-expiry"),
            timed(self.drop_every, "drop-every"),
            cut(self.drop_as, "drop-as"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl From<Faults> for Vec<String> {
    fn from(faults: Faults) -> Self {
        faults.texts()
    }
}

impl TryFrom<Vec<String>> for Faults {
    type Error = BadFault;

    fn try_from(texts: Vec<String>) -> Result<Self, BadFault> {
        let mut faults = Self::default();
        texts.iter().try_for_each(|text| faults.set(text))?;
        Ok(faults)
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(late) => write!(f, "token-slow={}", Span(*late)),
            Self::Hang => f.write_str("token-hang"),
            Self::Status(status) => write!(f, "token-status={status}"),
            Self::RetryAfter(form, after) => {
                let form = match form {
                    RetryForm::Seconds => "seconds",
                    RetryForm::Date => "date",
                    RetryForm::Iso => "iso",
                };
                write!(f, "token-retry-after={form}:{}", Span(*after))
            }
            Self::Html => f.write_str("token-html"),
            Self::Empty => f.write_str("token-empty"),
            Self::Bare => f.write_str("token-bare"),
            Self::Refused(wording) => write!(f, "token-refused={wording}"),
            Self::RefuseGrant(grant) => write!(f, "token-refuse-grant={grant}"),
        }
    }
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("tcp-silent"),
            Self::Status(status) => write!(f, "connect-status={status}"),
            Self::Hang => f.write_str("connect-hang"),
        }
    }
}

impl fmt::Display for OpeningFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("open-silent"),
            Self::Late(late) => write!(f, "open-late={}", Span(*late)),
            Self::Refused(wording) => write!(f, "open-refused={wording}"),
            Self::RefusedInTurn => f.write_str("open-refused-in-turn"),
            Self::EventFirst => f.write_str("open-event-first"),
            Self::Bare => f.write_str("open-bare"),
        }
    }
}

impl fmt::Display for HeartbeatFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored => f.write_str("heartbeat-ignored"),
            Self::Late(late) => write!(f, "heartbeat-late={}", Span(*late)),
            Self::Refused => f.write_str("heartbeat-refused"),
        }
    }
}

impl fmt::Display for FlowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(late) => write!(f, "events-late={}", Span(*late)),
            Self::Burst(every) => write!(f, "events-burst={}", Span(*every)),
            Self::Reversed(count) => write!(f, "events-reversed={count}"),
            Self::Withheld => f.write_str("events-withheld"),
        }
    }
}

/// Says that a text is no way to end a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {CUT}")]
pub struct BadCut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(code) => code.fmt(f),
            Self::Fin => f.write_str("fin"),
            Self::Reset => f.write_str("reset"),
            Self::Silent => f.write_str("silent"),
        }
    }
}

impl FromStr for Cut {
    type Err = BadCut;

    fn from_str(text: &str) -> Result<Self, BadCut> {
        match text {
            "fin" => Ok(Self::Fin),
            "reset" => Ok(Self::Reset),
            "silent" => Ok(Self::Silent),
            _ => {
                let code = text.parse().ok().filter(|code| (1000..5000).contains(code));
                code.map(Self::Close).ok_or(BadCut)
            }
        }
    }
}

impl From<Cut> for String {
    fn from(cut: Cut) -> Self {
        cut.to_string()
    }
}

impl TryFrom<String> for Cut {
    type Error = BadCut;

    fn try_from(text: String) -> Result<Self, BadCut> {
        text.parse()
    }
}

/// Shows a duration as it is written: `250ms`, `10s`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        f.write_str(&format!("{duration:#}").replace(' ', ""))
    }
}

/// Is the value of a fault on its way into a type.
#[derive(Clone, Copy)]
struct Value<'a> {
    name: &'a str,
    value: &'a str,
}

impl Value<'_> {
    fn bad(&self, wanted: &'static str) -> BadFault {
        BadFault::Value { name: self.name.to_owned(), value: self.value.to_owned(), wanted }
    }

    fn none<T>(&self, fault: T) -> Result<T, BadFault> {
        if self.value.is_empty() { Ok(fault) } else { Err(self.bad("no value")) }
    }

    fn text(&self, wanted: &'static str) -> Result<String, BadFault> {
        if self.value.is_empty() { Err(self.bad(wanted)) } else { Ok(self.value.to_owned()) }
    }

    fn duration(&self) -> Result<Duration, BadFault> {
        duration(self.value).ok_or_else(|| self.bad("a duration such as `250ms` or `10s`"))
    }

    fn status(&self) -> Result<u16, BadFault> {
        let status = self.value.parse().ok().filter(|status| (200..600).contains(status));
        status.ok_or_else(|| self.bad("an HTTP status from 200 to 599"))
    }

    fn cut(&self) -> Result<Cut, BadFault> {
        self.value.parse().map_err(|_| self.bad(CUT))
    }

    fn gathered(&self) -> Result<usize, BadFault> {
        let count = self.value.parse().ok().filter(|count| (2..=MAX_GATHERED).contains(count));
        count.ok_or_else(|| self.bad("a number of events from 2 to 1000"))
    }

    fn size(&self) -> Result<usize, BadFault> {
        let (digits, unit) = match self.value {
            text if text.ends_with("MiB") => (text.trim_end_matches("MiB"), 1 << 20),
            text if text.ends_with("KiB") => (text.trim_end_matches("KiB"), 1 << 10),
            text => (text, 1),
        };
        let size = digits.parse::<usize>().ok().and_then(|size| size.checked_mul(unit));
        size.filter(|size| *size <= MAX_LARGE).ok_or_else(|| self.bad("a size up to `16MiB`, such as `3MiB`"))
    }

    fn retry_after(&self) -> Result<TokenFault, BadFault> {
        let parsed = self.value.split_once(':').and_then(|(form, after)| {
            let form = match form {
                "seconds" => RetryForm::Seconds,
                "date" => RetryForm::Date,
                "iso" => RetryForm::Iso,
                _ => return None,
            };
            Some(TokenFault::RetryAfter(form, duration(after)?))
        });
        parsed.ok_or_else(|| self.bad("`seconds:DURATION`, `date:DURATION` or `iso:DURATION`"))
    }
}

/// Reads a duration of more than nothing, such as `250ms` or `10s`.
pub fn duration(text: &str) -> Option<Duration> {
    let duration: SignedDuration = text.parse().ok()?;
    Duration::try_from(duration).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, value: &str) -> String {
        let value = match value {
            "" => return name.to_owned(),
            "DURATION" => "1m30s",
            "CODE" => "429",
            "FORM:DURATION" => "iso:20s",
            "GRANT" => "account_credentials",
            "TEXT" => "token is bad=very bad",
            "SIZE" => "3145728",
            "CUT" => "reset",
            "N" => "12",
            other => panic!("no sample of {other}"),
        };
        format!("{name}={value}")
    }

    #[test]
    fn every_listed_name_reads_back_what_it_shows() {
        for (name, value, _) in NAMES {
            let text = sample(name, value);
            let mut faults = Faults::default();
            faults.set(&text).unwrap();
            assert_eq!(faults.texts(), [text]);
        }
    }

    #[test]
    fn list_form_is_json() {
        let json = r#"["token-hang","frame-object","drop-every=250ms","drop-as=1012"]"#;
        let faults: Faults = serde_json::from_str(json).unwrap();
        assert_eq!(faults.drop_as, Cut::Close(1012));
        assert_eq!(serde_json::to_string(&faults).unwrap(), json);
    }

    #[test]
    fn errors_name_what_would_be_right() {
        let error = |text: &str| Faults::default().set(text).unwrap_err().to_string();
        assert_eq!(error("toke-hang"), "no fault is called `toke-hang`; `zoomhook simulate --help` lists their names");
        assert_eq!(error("token-slow=soon"), "`token-slow` takes a duration such as `250ms` or `10s`, not `soon`");
        assert_eq!(error("ping=0s"), "`ping` takes a duration such as `250ms` or `10s`, not `0s`");
        assert_eq!(error("token-hang=1"), "`token-hang` takes no value, not `1`");
        assert_eq!(
            error("drop-as=99"),
            "`drop-as` takes a close code from 1000 to 4999, `fin`, `reset` or `silent`, not `99`"
        );
        assert_eq!(error("connect-status=101"), "`connect-status` takes an HTTP status from 200 to 599, not `101`");
        assert_eq!(error("frame-large=3GiB"), "`frame-large` takes a size up to `16MiB`, such as `3MiB`, not `3GiB`");
    }

    #[test]
    fn later_fault_of_a_place_replaces_the_earlier_one() {
        let faults = Faults::try_from(vec!["token-hang".to_owned(), "token-html".to_owned()]).unwrap();
        assert_eq!(faults.token, Some(TokenFault::Html));
    }
}
