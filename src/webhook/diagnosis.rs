//! ◆ Why a signature does not fit: everything that usually goes wrong is tried, and what fits is named.
//!
//! An HMAC tells nothing about what it was made of, so the only way is to make it again: over the body as other
//! programs would have written it, with the timestamp from another place, under the secret with a line end behind it.
//! What fits is proven; what does not fit is excluded. That the secret is another one can never be proven.

pub mod headers;
mod rewrite;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use self::headers::Headers;
pub use self::rewrite::Style;
use super::signature::Signer;
use crate::config::secret::Secret;
use crate::retry_after;

/// A request that is older or newer than this is refused by many handlers, as captured from Zoom's samples.
pub const WINDOW: SignedDuration = SignedDuration::from_secs(300);

/// Bytes of an HMAC-SHA256.
const MAC: usize = 32;
/// How many differences are tried at once, rewritten bodies apart: more would be a coincidence.
const AT_ONCE: usize = 2;

/// Is what came: the two headers as texts, the raw body, and whatever other headers are known.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The value of `x-zm-signature`.
    pub signature: &'a str,
    /// The value of `x-zm-request-timestamp`.
    pub timestamp: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The headers, if they are known.
    pub headers: &'a Headers,
}

/// Is what was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// How the signature differs from the signature of the request as it came: in nothing when it is right, and
    /// `None` when nothing that was tried explains it.
    pub differences: Option<Vec<Difference>>,
    /// What is wrong with the form of the signature.
    pub form: Vec<FormFault>,
    /// What the timestamp says.
    pub clock: ClockState,
    /// How many signatures were made to find out.
    pub tried: usize,
}

impl Diagnosis {
    /// Tells whether the signature is that of the request.
    pub fn is_right(&self) -> bool {
        self.form.is_empty() && self.differences.as_deref() == Some(&[])
    }
}

/// Is what is wrong with the form of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormFault {
    /// White space or quotes around it.
    Surrounded,
    /// No `v0=` before it.
    NoVersion,
    /// Something else before it.
    OtherVersion(String),
    /// Hexadecimal digits in upper case.
    UpperCase,
    /// Base64 in place of hexadecimal digits.
    Base64,
    /// Nothing that 32 bytes could be read from.
    NoMac,
}

/// Is what a timestamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It is within the window around now.
    Fresh,
    /// It is older.
    Old(SignedDuration),
    /// It lies ahead.
    Ahead(SignedDuration),
    /// It counts milliseconds, where Zoom counts seconds.
    Milliseconds,
    /// It is no time.
    NotATime,
}

/// Is one way in which the signature differs from that of the request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It was made over another form of the body.
    Body(BodyChange),
    /// It was made under another form of the secret.
    Secret(SecretChange),
    /// It was made with another timestamp.
    Timestamp(TimestampSource),
    /// It was made over another message than `v0:<timestamp>:<body>`.
    Message(Message),
}

/// Is another form of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyChange {
    /// Without the white space at its end.
    EndTrimmed,
    /// With a line feed at its end.
    LineFeedAdded,
    /// With carriage return and line feed at its end.
    CrLfAdded,
    /// With carriage return and line feed in place of each line feed.
    ToCrLf,
    /// With a line feed in place of carriage return and line feed.
    ToLf,
    /// Without the byte order mark at its beginning.
    MarkTaken,
    /// With a byte order mark at its beginning.
    MarkAdded,
    /// Its UTF-8 was read as Latin-1 and written as UTF-8 again: here that is undone.
    Latin1Undone,
    /// Its UTF-8 read as Latin-1 and written as UTF-8 again.
    Latin1Done,
    /// Parsed and written again.
    Rewritten(Style),
    /// Parsed and written again, with a line feed at its end.
    RewrittenWithLineFeed(Style),
}

/// Is another form of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretChange {
    /// With a line feed behind it.
    LineFeed,
    /// With carriage return and line feed behind it.
    CrLf,
    /// Without the white space around it.
    Trimmed,
    /// Without the quotes around it.
    Unquoted,
    /// With quotes around it.
    Quoted,
}

/// Is where another timestamp comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampSource {
    /// The same in seconds.
    InSeconds,
    /// The `event_ts` of the body.
    EventTs,
    /// The `event_ts` of the body, in seconds.
    EventTsInSeconds,
    /// Another header.
    Header(String),
}

/// Is another message to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The body alone.
    BodyAlone,
    /// Timestamp and body, without `v0:`.
    NoVersion,
}

/// Finds out what is wrong with a signature, if anything is.
pub fn diagnose(claim: &Claim<'_>, secret: &Secret, now: Timestamp) -> Diagnosis {
    let (form, mac) = read(claim.signature);
    let mut search = Search { mac: mac.map(hex::encode), tried: 0 };
    let differences = if search.mac.is_some() { search.run(claim, secret, now) } else { None };
    Diagnosis { differences, form, clock: clock(claim.timestamp, now), tried: search.tried }
}

/// Reads a signature as leniently as can be, and notes what is wrong with its form.
fn read(signature: &str) -> (Vec<FormFault>, Option<[u8; MAC]>) {
    let mut faults = Vec::new();
    let bare = signature.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    if bare != signature {
        faults.push(FormFault::Surrounded);
    }
    // The padding of base64 is no version.
    let digits = match bare.split_once('=').filter(|(_, digits)| digits.len() > 1) {
        Some(("v0", digits)) => digits,
        Some((version, digits)) => {
            faults.push(FormFault::OtherVersion(version.to_owned()));
            digits
        }
        None => {
            faults.push(FormFault::NoVersion);
            bare
        }
    };
    if let Some(mac) = hex::decode(digits).ok().and_then(|bytes| bytes.try_into().ok()) {
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            faults.push(FormFault::UpperCase);
        }
        return (faults, Some(mac));
    }
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decode = |alphabet| GeneralPurpose::new(alphabet, lenient).decode(digits).ok();
    let bytes = decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE));
    let mac = bytes.and_then(|bytes| bytes.try_into().ok());
    faults.push(if mac.is_some() { FormFault::Base64 } else { FormFault::NoMac });
    (faults, mac)
}

fn clock(timestamp: &str, now: Timestamp) -> ClockState {
    let Ok(count) = timestamp.parse::<i64>() else { return ClockState::NotATime };
    if timestamp.len() == 13 {
        return ClockState::Milliseconds;
    }
    let Ok(at) = Timestamp::from_second(count) else { return ClockState::NotATime };
    let age = now.duration_since(at);
    if age > WINDOW {
        ClockState::Old(age)
    } else if -age > WINDOW {
        ClockState::Ahead(-age)
    } else {
        ClockState::Fresh
    }
}

/// Makes signatures until one fits.
struct Search {
    mac: Option<String>,
    tried: usize,
}

/// Is something to try, and what is different about it; the first of each kind is what came.
type Choice<T> = (Option<Difference>, T);

impl Search {
    fn run(&mut self, claim: &Claim<'_>, secret: &Secret, now: Timestamp) -> Option<Vec<Difference>> {
        let secrets = secrets(secret);
        let timestamps = timestamps(claim, now);
        let bodies = bodies(claim.body);
        let messages = [None, Some(Message::BodyAlone), Some(Message::NoVersion)];
        for different in 0..=AT_ONCE {
            for (secret, signer) in &secrets {
                for (timestamp, time) in &timestamps {
                    for message in messages {
                        for (body, bytes) in &bodies {
                            let message_difference = message.map(Difference::Message);
                            let differences = [&message_difference, secret, timestamp, body];
                            if differences.iter().filter(|difference| difference.is_some()).count() == different
                                && self.fits(signer, message, time, bytes)
                            {
                                return Some(differences.into_iter().flatten().cloned().collect());
                            }
                        }
                    }
                }
            }
            // A body that was written again is likelier than two accidents at once.
            if different == 1
                && let Some(found) = self.rewritten(claim, &secrets[0].1)
            {
                return Some(vec![Difference::Body(found)]);
            }
        }
        None
    }

    fn rewritten(&mut self, claim: &Claim<'_>, signer: &Signer) -> Option<BodyChange> {
        let body = std::str::from_utf8(claim.body).ok()?;
        for style in Style::all() {
            let mut written = style.write(body.trim_start_matches('\u{feff}'))?;
            if self.fits(signer, None, claim.timestamp, written.as_bytes()) {
                return Some(BodyChange::Rewritten(style));
            }
            written.push('\n');
            if self.fits(signer, None, claim.timestamp, written.as_bytes()) {
                return Some(BodyChange::RewrittenWithLineFeed(style));
            }
        }
        None
    }

    fn fits(&mut self, signer: &Signer, message: Option<Message>, timestamp: &str, body: &[u8]) -> bool {
        self.tried += 1;
        let tag = match message {
            None => signer.tag(&[b"v0:", timestamp.as_bytes(), b":", body]),
            Some(Message::BodyAlone) => signer.tag(&[body]),
            Some(Message::NoVersion) => signer.tag(&[timestamp.as_bytes(), b":", body]),
        };
        self.mac.as_deref() == Some(&*tag)
    }
}

fn secrets(secret: &Secret) -> Vec<Choice<Signer>> {
    let text = secret.expose();
    let unquoted = text.trim().trim_matches(['"', '\'']);
    let others = [
        (SecretChange::LineFeed, format!("{text}\n")),
        (SecretChange::CrLf, format!("{text}\r\n")),
        (SecretChange::Trimmed, text.trim().to_owned()),
        (SecretChange::Unquoted, unquoted.to_owned()),
        (SecretChange::Quoted, format!("\"{text}\"")),
    ];
    let mut choices = vec![(None, Signer::new(secret))];
    let others = others.into_iter().filter(|(_, other)| other != text);
    choices.extend(others.map(|(change, other)| (Some(Difference::Secret(change)), Signer::new(&Secret::new(other)))));
    choices
}

fn timestamps<'a>(claim: &Claim<'a>, now: Timestamp) -> Vec<Choice<Cow<'a, str>>> {
    #[derive(Deserialize)]
    struct Known {
        event_ts: i64,
    }
    let mut choices: Vec<Choice<Cow<'a, str>>> = vec![(None, Cow::Borrowed(claim.timestamp))];
    let mut add = |source, time: Cow<'a, str>| {
        if choices.iter().all(|(_, known)| *known != time) {
            choices.push((Some(Difference::Timestamp(source)), time));
        }
    };
    let number = claim.timestamp.parse::<i64>().ok();
    if let Some(milliseconds) = number.filter(|_| claim.timestamp.len() == 13) {
        add(TimestampSource::InSeconds, (milliseconds / 1000).to_string().into());
    }
    for (name, value) in claim.headers.others() {
        if matches!(value.len(), 10 | 13) && value.bytes().all(|byte| byte.is_ascii_digit()) {
            add(TimestampSource::Header(name.to_owned()), value.into());
        }
        if name == "date"
            && let Some(date) = retry_after::parse(value, now)
        {
            add(TimestampSource::Header(name.to_owned()), date.as_second().to_string().into());
        }
    }
    if let Ok(Known { event_ts }) = serde_json::from_slice(claim.body) {
        add(TimestampSource::EventTs, event_ts.to_string().into());
        add(TimestampSource::EventTsInSeconds, (event_ts / 1000).to_string().into());
    }
    choices
}

fn bodies(body: &[u8]) -> Vec<Choice<Cow<'_, [u8]>>> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let text = String::from_utf8_lossy(body);
    let latin_1 = |text: &str| text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>();
    let unmarked = body.strip_prefix(MARK);
    let others = [
        (BodyChange::EndTrimmed, Some(body.trim_ascii_end().into())),
        (BodyChange::LineFeedAdded, Some([body, b"\n"].concat().into())),
        (BodyChange::CrLfAdded, Some([body, b"\r\n"].concat().into())),
        (BodyChange::ToLf, Some(text.replace("\r\n", "\n").into_bytes().into())),
        (BodyChange::ToCrLf, Some(text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes().into())),
        (BodyChange::MarkTaken, unmarked.map(Cow::Borrowed)),
        (BodyChange::MarkAdded, Some([MARK, body].concat().into())),
        (BodyChange::Latin1Undone, latin_1(&text).map(Cow::Owned)),
        (
            BodyChange::Latin1Done,
            Some(body.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes().into()),
        ),
    ];
    let mut choices: Vec<Choice<Cow<'_, [u8]>>> = vec![(None, Cow::Borrowed(body))];
    for (change, other) in others {
        if let Some(other) = other.filter(|other| choices.iter().all(|(_, known)| known != other)) {
            choices.push((Some(Difference::Body(change)), other));
        }
    }
    choices
}

impl fmt::Display for FormFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Surrounded => f.write_str("there is white space or a quote around the signature"),
            Self::NoVersion => f.write_str("the signature does not begin with `v0=`"),
            Self::OtherVersion(version) => {
                write!(f, "the signature begins with `{}=` in place of `v0=`", version.escape_debug())
            }
            Self::UpperCase => f.write_str("the signature has upper-case digits: Zoom writes lower-case ones"),
            Self::Base64 => f.write_str("the signature is base64: Zoom writes 64 hexadecimal digits"),
            Self::NoMac => f.write_str("the signature is not `v0=` and 64 hexadecimal digits"),
        }
    }
}

/// Shows what the signature was made of, in words that follow "the signature fits".
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(change) => change.fmt(f),
            Self::Secret(change) => f.write_str(match change {
                SecretChange::LineFeed => "the secret with a newline behind it",
                SecretChange::CrLf => "the secret with a carriage return and newline behind it",
                SecretChange::Trimmed => "the secret without the white space around it",
                SecretChange::Unquoted => "the secret without the quotes around it",
                SecretChange::Quoted => "the secret with quotes around it",
            }),
            Self::Timestamp(source) => match source {
                TimestampSource::InSeconds => f.write_str("the timestamp in seconds, not milliseconds"),
                TimestampSource::EventTs => f.write_str("the `event_ts` of the body as timestamp"),
                TimestampSource::EventTsInSeconds => {
                    f.write_str("the `event_ts` of the body, in seconds, as timestamp")
                }
                TimestampSource::Header(name) => write!(f, "the header `{name}` as timestamp"),
            },
            Self::Message(message) => f.write_str(match message {
                Message::BodyAlone => "the body alone, without `v0:<timestamp>:` before it",
                Message::NoVersion => "`<timestamp>:<body>`, without `v0:` before it",
            }),
        }
    }
}

impl fmt::Display for BodyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndTrimmed => f.write_str("the body without the newline or blanks at its end"),
            Self::LineFeedAdded => f.write_str("the body with a newline at its end"),
            Self::CrLfAdded => f.write_str("the body with a carriage return and newline at its end"),
            Self::ToCrLf => f.write_str("the body with carriage returns at its line ends"),
            Self::ToLf => f.write_str("the body without carriage returns at its line ends"),
            Self::MarkTaken => f.write_str("the body without the byte order mark at its beginning"),
            Self::MarkAdded => f.write_str("the body with a byte order mark at its beginning"),
            Self::Latin1Undone => f.write_str("the body as it was before its UTF-8 was read as Latin-1"),
            Self::Latin1Done => f.write_str("the body with its UTF-8 read as Latin-1"),
            Self::Rewritten(style) => write!(f, "the body written again, {style}"),
            Self::RewrittenWithLineFeed(style) => {
                write!(f, "the body written again, {style}, with a newline at its end")
            }
        }
    }
}
