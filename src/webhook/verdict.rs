//! What an attempt came to, and what that means.
//!
//! [`verdict`] is total: every status and every fault has exactly one meaning under each set of rules.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::config::Retry;
use crate::config::allow::Forbidden;
use crate::net::proxy::{ProxyError, ProxyFault};
use crate::net::shortage::Shortage;
use crate::retry_after;
use crate::tls::fault::TlsFault;

/// The longest wait that a handler's `Retry-After` is granted. A handler that asks for a day would
/// keep its events past anybody's patience; one that means it answers so again an hour later.
pub const RETRY_AFTER_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Is a handler's complete answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The text of its `Retry-After` header.
    pub retry_after: Option<String>,
    /// The beginning of its body as text, for the operator.
    pub excerpt: String,
}

// Handlers may echo what they were sent: the excerpt must not reach a log by way of `{:?}`.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

/// Says why there is no complete answer; the texts are the innermost errors, which name no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The destination's name does not resolve.
    #[error("{}: {}", Cause::Dns, .0)]
    Dns(String),
    /// Nothing listens there.
    #[error("{}", Cause::Refused)]
    Refused,
    /// No connection for another reason.
    #[error("{}: {}", Cause::Connect, .0)]
    Connect(String),
    /// No agreement on TLS.
    #[error("{0}: {1}")]
    Tls(TlsFault, String),
    /// No complete answer in time.
    #[error("{}", Cause::Timeout)]
    Timeout,
    /// The connection ended before the answer was complete, or what came is not HTTP.
    #[error("{}: {}", Cause::Cut, .0)]
    Cut(String),
    /// A connection from before the request ended before an answer began: the handler closed it as idle, or with
    /// the request.
    #[error("{}: {}", Cause::Cut, .0)]
    Stale(String),
    /// No address of the host may be connected to.
    #[error("{}: {}", Cause::Egress, .0)]
    Egress(Forbidden),
    /// The proxy on the way gives no connection.
    #[error("{0}")]
    Proxy(ProxyError),
    /// The token endpoint gives no token.
    #[error("{}: {words}", Cause::Token(None))]
    Token {
        /// What TLS came to, if there was no agreement on it.
        tls: Option<TlsFault>,
        /// Who gives none, and why.
        words: String,
    },
    /// This machine has nothing left to make a connection with.
    #[error("{}: {}", .0, .0.advice())]
    Short(Shortage),
    /// The request cannot be sent at all.
    #[error("{}: {}", Cause::Own, .0)]
    Own(String),
}

impl SendError {
    /// Tells why there is no agreement on TLS, if that is what failed.
    pub(crate) fn tls(&self) -> Option<TlsFault> {
        match self.cause() {
            Cause::Tls(fault) => Some(fault),
            Cause::Token(fault) => fault,
            Cause::Status(_)
            | Cause::Dns
            | Cause::Refused
            | Cause::Connect
            | Cause::Timeout
            | Cause::Cut
            | Cause::Egress
            | Cause::Proxy(_)
            | Cause::Short(_)
            | Cause::Own => None,
        }
    }

    /// Returns the cause without the details.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Dns(_) => Cause::Dns,
            Self::Refused => Cause::Refused,
            Self::Connect(_) => Cause::Connect,
            Self::Tls(fault, _) => Cause::Tls(*fault),
            Self::Timeout => Cause::Timeout,
            Self::Cut(_) | Self::Stale(_) => Cause::Cut,
            Self::Egress(_) => Cause::Egress,
            Self::Proxy(error) => Cause::Proxy(error.fault),
            Self::Token { tls, .. } => Cause::Token(*tls),
            Self::Short(shortage) => Cause::Short(*shortage),
            Self::Own(_) => Cause::Own,
        }
    }
}

/// Says why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Handler fault: it answered, with this status.
    Status(u16),
    /// Network fault: its name does not resolve.
    Dns,
    /// Network fault: nothing listens there.
    Refused,
    /// Network fault: no connection for another reason.
    Connect,
    /// Network fault: no agreement on TLS.
    Tls(TlsFault),
    /// Network fault: no complete answer in time.
    Timeout,
    /// Network fault: the connection ended before the answer was complete.
    Cut,
    /// Network fault: no address of the host may be connected to; its name may lead elsewhere later.
    Egress,
    /// Network fault: the proxy on the way gives no connection.
    Proxy(ProxyFault),
    /// Network fault: the token endpoint of the handler gives no token, for want of an agreement on TLS if so.
    Token(Option<TlsFault>),
    /// Own fault: this machine has nothing left to make a connection with.
    Short(Shortage),
    /// Own fault: the request cannot be built, or the attempt panicked.
    Own,
}

/// Says who can mend a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Those who run the handler.
    Handler,
    /// Those who run the way to it.
    Network,
    /// Those who run the bridge.
    Own,
}

impl Cause {
    /// Tells whose fault it is.
    pub fn fault(self) -> Fault {
        match self {
            Self::Status(_) => Fault::Handler,
            Self::Dns
            | Self::Refused
            | Self::Connect
            | Self::Tls(_)
            | Self::Timeout
            | Self::Cut
            | Self::Egress
            | Self::Proxy(_)
            | Self::Token(_) => Fault::Network,
            Self::Short(_) | Self::Own => Fault::Own,
        }
    }
}

/// Shows the cause as it stands in the spool and on every surface: `status 503`, `timeout`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Dns => f.write_str("name does not resolve"),
            Self::Refused => f.write_str("connection refused"),
            Self::Connect => f.write_str("cannot connect"),
            Self::Tls(fault) => fault.fmt(f),
            Self::Timeout => f.write_str("timeout"),
            Self::Cut => f.write_str("answer cut off"),
            Self::Egress => f.write_str("address not allowed"),
            Self::Proxy(fault) => fault.fmt(f),
            Self::Token(None) => f.write_str("no token from token_url"),
            Self::Token(Some(fault)) => write!(f, "no token from token_url: {fault}"),
            Self::Short(shortage) => shortage.fmt(f),
            Self::Own => f.write_str("request cannot be sent"),
        }
    }
}

/// Says which statuses mean what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusRules {
    /// Any 2xx is success; 408, 425, 429 and 5xx are worth another try, at the time that the handler asks for.
    Steady,
    /// As Zoom does it: 200 or 204 is success, from the second attempt on any 2xx; 500 and above is worth
    /// another try. `Retry-After` means nothing.
    Zoom,
}

impl From<&Retry> for StatusRules {
    fn from(retry: &Retry) -> Self {
        match retry {
            Retry::Steady | Retry::List(_) => Self::Steady,
            Retry::Zoom => Self::Zoom,
        }
    }
}

/// Says what one attempt means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The handler has it.
    Delivered {
        /// The status that said so.
        status: u16,
    },
    /// Worth another try.
    Retry(Cause),
    /// Worth another try, not before this instant.
    RetryAfter(Cause, Timestamp),
    /// Another try would not help.
    Refused(Cause),
    /// No attempt: nothing left this machine, so that it says nothing of the handler nor of the event.
    NotTried(Shortage),
}

/// Judges one attempt; `attempt` counts from 1.
///
/// Network faults are worth another try under all rules, own faults under none, but for what this machine has not enough
/// of: that was no attempt. What the rules say of
/// redirects and of all statuses not named in them is: refused.
///
/// One case Zoom's documentation leaves open: a first attempt that is answered with a 2xx other than 200
/// and 204. It is tried again, because the second attempt accepts any 2xx: the handler sees the event
/// twice, which at-least-once allows, where a refusal would call dead what it has in fact taken.
pub fn verdict(result: &Result<Answer, SendError>, rules: StatusRules, attempt: u32, now: Timestamp) -> Verdict {
    match result {
        Ok(answer) => match rules {
            StatusRules::Steady => steady(answer, now),
            StatusRules::Zoom => zoom(answer.status, attempt),
        },
        Err(SendError::Short(shortage)) => Verdict::NotTried(*shortage),
        Err(error) => match error.cause().fault() {
            Fault::Network => Verdict::Retry(error.cause()),
            Fault::Handler | Fault::Own => Verdict::Refused(error.cause()),
        },
    }
}

fn steady(answer: &Answer, now: Timestamp) -> Verdict {
    let cause = Cause::Status(answer.status);
    match answer.status {
        status @ 200..=299 => Verdict::Delivered { status },
        408 | 425 | 429 | 500..=599 => match answer.retry_after.as_deref().and_then(|text| asked_for(text, now)) {
            Some(at) => Verdict::RetryAfter(cause, at),
            None => Verdict::Retry(cause),
        },
        _ => Verdict::Refused(cause),
    }
}

/// Reads the instant that a handler asks for, if it lies ahead, and caps it.
fn asked_for(retry_after: &str, now: Timestamp) -> Option<Timestamp> {
    let latest = now.saturating_add(RETRY_AFTER_MAX).unwrap_or(Timestamp::MAX);
    retry_after::parse(retry_after, now).filter(|at| *at > now).map(|at| at.min(latest))
}

fn zoom(status: u16, attempt: u32) -> Verdict {
    let cause = Cause::Status(status);
    match status {
        200 | 204 => Verdict::Delivered { status },
        200..=299 if attempt > 1 => Verdict::Delivered { status },
        200..=299 | 500.. => Verdict::Retry(cause),
        _ => Verdict::Refused(cause),
    }
}

#[cfg(test)]
mod tests;
