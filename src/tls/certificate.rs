//! What a certificate says of itself: how long it is good, and for whom.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A certificate that is good for less than this should have been renewed: those who do it by themselves do it earlier,
/// and others take some days.
pub(crate) const RENEW: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Tells when a certificate expires, if it can be read.
pub(crate) fn expires_at(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// Returns the name by which to verify a server at this address: the first one that is no pattern; `None` where the
/// certificate names the address itself, or no such name.
pub(crate) fn name_for(certificate: &CertificateDer<'_>, address: IpAddr) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if names.iter().any(|name| matches!(name, GeneralName::IPAddress(known) if *known == octets)) {
        return None;
    }
    names.iter().find_map(|name| {
        let GeneralName::DNSName(name) = name else { return None };
        (!name.contains('*')).then(|| (*name).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn certificate_tells_its_end_and_a_name_where_it_does_not_name_the_address() {
        let certificate = certificate(&["*.bank.internal", "zoomhook.bank.internal", "127.0.0.1"]);
        assert_eq!(expires_at(&certificate), Some("2031-05-01T00:00:00Z".parse().expect("a time")));
        let name = |address: &str| name_for(&certificate, address.parse().expect("an address"));
        assert_eq!(name("127.0.0.1"), None);
        assert_eq!(name("10.0.0.5").as_deref(), Some("zoomhook.bank.internal"));
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let nothing = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!((expires_at(&nothing), name_for(&nothing, [127, 0, 0, 1].into())), (None, None));
    }

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let params = params.as_mut().expect("names");
        params.not_after = date_time_ymd(2031, 5, 1);
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        certificate.der().clone()
    }
}
