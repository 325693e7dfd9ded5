//! Certificates that are trusted, and files that are no good.

mod live;

use super::*;

#[test]
fn certificate_that_is_not_accepted_is_explained_from_within_io_errors() {
    let wrapped = |reason| io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(reason)));
    let words = distrust(&wrapped(CertificateError::UnknownIssuer)).unwrap_or_default();
    assert!(words.contains("certificate") && words.contains("ca_file"), "{words}");
    assert_eq!(distrust(&wrapped(CertificateError::NotValidForName)), Some("its certificate is for another name"));
    assert_eq!(distrust(&wrapped(CertificateError::BadSignature)), None);
    assert_eq!(distrust(&io::Error::other("reset")), None);
}

#[test]
fn clients_share_the_roots_unless_they_have_their_own() {
    let roots = Roots::load();
    let clients: Vec<_> = (0..50).map(|_| roots.client_config(None).expect("roots")).collect();
    assert!(Arc::strong_count(&roots.store) > clients.len());
}

#[test]
fn missing_ca_file_is_named() {
    let error = client_config(Some(Path::new("/nonexistent/ca.pem"))).expect_err("no such file");
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}

#[test]
fn file_without_certificates_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let error = client_config(Some(file.path())).expect_err("an empty file");
    assert!(error.to_string().contains("no certificate"), "{error}");
}
