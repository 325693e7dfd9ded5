//! What is wrong with TLS between two sides, told so that somebody can mend it.

use std::error::Error;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError};

/// Says why two sides do not agree on TLS, as far as that tells who has to mend what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// The certificate of the other side is of an authority that is not trusted here.
    Authority,
    /// Its certificate has expired, by the clock of this machine.
    Expired,
    /// Its certificate is not valid yet, by the clock of this machine.
    NotYetValid,
    /// Its certificate is for another name.
    Name,
    /// Its certificate is that of an authority, as openssl makes one that signs itself: no trust makes it a server's.
    NotForServers,
    /// Its certificate is wrong in another way: it is revoked, or too weak.
    Certificate,
    /// It wants a certificate from here, or another one than it is shown.
    Client,
    /// There is no version or cipher that both speak. Some ask for a certificate in these words, too.
    Version,
    /// What answers there speaks something else.
    NotTls,
    /// It closed the connection without a word.
    Closed,
    /// Anything else.
    Other,
}

impl TlsFault {
    /// Finds out what an error of TLS says.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        match fault(error) {
            Some(fault) => Self::told_by(fault),
            None if is_end(error) => Self::Closed,
            None => Self::Other,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest are mended by nobody who reads a status")]
    fn told_by(fault: &rustls::Error) -> Self {
        match fault {
            rustls::Error::InvalidCertificate(reason) => Self::of_certificate(reason),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::PeerIncompatible(_) => Self::Version,
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::Other,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest say that the certificate is no good, and more will come"
    )]
    fn of_certificate(reason: &CertificateError) -> Self {
        match reason {
            CertificateError::UnknownIssuer => Self::Authority,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::NotForServers,
            // rustls has no name of its own for it, but that of the library below.
            CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => Self::NotForServers,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            _ => Self::Certificate,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest complain of the protocol, and more will come")]
    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => Self::Client,
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::Version,
            AlertDescription::UnrecognisedName => Self::Name,
            _ => Self::Other,
        }
    }

    /// Says it in a few words, if there is anything to say.
    pub(crate) fn words(self) -> Option<&'static str> {
        Some(match self {
            Self::Authority => "certificate of an unknown authority",
            Self::Expired => "certificate expired",
            Self::NotYetValid => "certificate not valid yet",
            Self::Name => "certificate for another name",
            Self::NotForServers => "certificate not for a server",
            Self::Certificate => "certificate not accepted",
            Self::Client => "client certificate wanted or refused",
            Self::Version => "no common version or cipher",
            Self::NotTls => "no tls spoken there",
            Self::Closed => "connection closed in the handshake",
            Self::Other => return None,
        })
    }
}

/// Shows it as it stands in the spool and on every surface: `tls failed: certificate expired`.
impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tls failed")?;
        self.words().map_or(Ok(()), |words| write!(f, ": {words}"))
    }
}

/// Says in words why a peer's certificate was not accepted, when that is what an error comes from.
pub(crate) fn distrust(error: &(dyn Error + 'static)) -> Option<&'static str> {
    fault(error)?;
    match TlsFault::of(error) {
        TlsFault::Authority => {
            Some("its certificate is of an authority that this machine does not know; name its file in ca_file")
        }
        TlsFault::Expired => Some("its certificate has expired, or the clock of this machine is wrong"),
        TlsFault::NotYetValid => Some("its certificate is not valid yet, or the clock of this machine is wrong"),
        TlsFault::Name => Some("its certificate is for another name"),
        TlsFault::NotForServers => Some(
            "its certificate is one of an authority or a client; a server's has CA:FALSE, and serverAuth if it has uses",
        ),
        TlsFault::Certificate
        | TlsFault::Client
        | TlsFault::Version
        | TlsFault::NotTls
        | TlsFault::Closed
        | TlsFault::Other => None,
    }
}

/// Finds what rustls had to say, when that is what an error comes from.
pub(crate) fn fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    links(error).find_map(|link| link.downcast_ref())
}

fn is_end(error: &(dyn Error + 'static)) -> bool {
    let ends = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    links(error).filter_map(|link| link.downcast_ref::<io::Error>()).any(|error| ends.contains(&error.kind()))
}

/// Walks from an error to what it comes from.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link: &&'a (dyn Error + 'static)| {
        let link = *link;
        // An I/O error hides what it was made of from the chain of sources.
        let inside = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inside.map(|inside| inside as &(dyn Error + 'static)).or_else(|| link.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(error: rustls::Error) -> io::Error {
        io::Error::other(io::Error::other(error))
    }

    #[test]
    fn certificate_that_is_not_accepted_is_explained_from_within_io_errors() {
        let of = |reason| wrapped(rustls::Error::InvalidCertificate(reason));
        let words = distrust(&of(CertificateError::UnknownIssuer)).unwrap_or_default();
        assert!(words.contains("certificate") && words.contains("ca_file"), "{words}");
        assert_eq!(distrust(&of(CertificateError::NotValidForName)), Some("its certificate is for another name"));
        assert_eq!(distrust(&of(CertificateError::BadSignature)), None);
        assert_eq!(distrust(&io::Error::other("reset")), None);
    }

    #[test]
    fn alerts_say_who_has_to_mend_what() {
        for (alert, expected) in [
            (AlertDescription::CertificateRequired, TlsFault::Client),
            (AlertDescription::UnknownCA, TlsFault::Client),
            // Of an authority of the same name with another key.
            (AlertDescription::DecryptError, TlsFault::Client),
            (AlertDescription::ProtocolVersion, TlsFault::Version),
            (AlertDescription::HandshakeFailure, TlsFault::Version),
            (AlertDescription::UnrecognisedName, TlsFault::Name),
            (AlertDescription::InternalError, TlsFault::Other),
        ] {
            assert_eq!(TlsFault::of(&wrapped(rustls::Error::AlertReceived(alert))), expected, "{alert:?}");
        }
    }

    #[test]
    fn connection_that_ends_is_told_from_one_that_fails() {
        assert_eq!(TlsFault::of(&io::Error::from(io::ErrorKind::UnexpectedEof)), TlsFault::Closed);
        assert_eq!(TlsFault::of(&io::Error::other("no idea")), TlsFault::Other);
        assert_eq!(TlsFault::Other.to_string(), "tls failed");
    }
}
