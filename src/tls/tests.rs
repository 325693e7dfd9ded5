//! Certificates that are trusted, and files that are no good.

mod live;

use super::*;

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
fn pipe_is_refused_before_it_can_hold_anybody_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    let error = client_config(Some(&pipe)).expect_err("a pipe").to_string();
    assert!(error.contains("is a pipe"), "{error}");
    assert!(private_key(&pipe).expect_err("a pipe").to_string().contains("is a pipe"));
}

#[test]
fn file_without_certificates_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let error = client_config(Some(file.path())).expect_err("an empty file");
    assert!(error.to_string().contains("no certificate"), "{error}");
}
