use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls;

#[tokio::test(start_paused = true)]
async fn renewed_certificate_is_shown_within_a_minute() {
    let bench = Bench::new();
    bench.write(2031);
    let (certificate, metrics) = bench.load();
    let stop = CancellationToken::new();
    let (watched, token) = (Arc::clone(&certificate), stop.clone());
    let watching = tokio::spawn(async move { watched.watch(&token).await });
    tokio::time::sleep(CHECK * 2).await;
    assert_eq!(year(&certificate), 2031);
    bench.write(2032);
    tokio::time::sleep(CHECK).await;
    assert_eq!(year(&certificate), 2032);
    assert_eq!(certificate.state().1, None);
    let expiry = metrics.certificate_expiry.get_or_create(&SIDE).get();
    assert_eq!(expiry, Some(certificate.state().0));
    stop.cancel();
    watching.await.expect("no panic");
}

#[tokio::test]
async fn files_that_are_no_good_change_nothing_and_are_told_of() {
    let bench = Bench::new();
    bench.write(2031);
    let (certificate, _) = bench.load();
    let good = fs::read(&bench.files.key).expect("a key");
    for (bad, word) in
        [(KeyPair::generate().expect("a key").serialize_pem().as_str(), "cannot be used"), ("nothing", "private key")]
    {
        fs::write(&bench.files.key, bad).expect("written");
        certificate.refresh();
        let (_, problem) = certificate.state();
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(word)), "{problem:?}");
        assert_eq!(year(&certificate), 2031);
        assert!(bench.talk(&certificate, None).await.is_ok(), "it shows the one before");
    }
    fs::write(&bench.files.key, good).expect("written");
    certificate.refresh();
    assert_eq!(certificate.state().1, None);
    fs::write(&bench.files.cert, "nothing").expect("written");
    assert!(Certificate::load(&bench.files, Arc::default()).is_err(), "a start is refused");
}

#[tokio::test]
async fn client_must_show_a_certificate_where_one_is_asked_for() {
    let mut bench = Bench::new();
    bench.write(2031);
    bench.files.client_ca_file = Some(bench.authority.clone());
    let (certificate, _) = bench.load();
    assert!(bench.talk(&certificate, None).await.is_err());
    let known = (bench.files.cert.clone(), bench.files.key.clone());
    assert!(bench.talk(&certificate, Some((&known.0, &known.1))).await.is_ok());
    let stranger = Bench::new();
    stranger.write(2031);
    assert!(bench.talk(&certificate, Some((&stranger.files.cert, &stranger.files.key))).await.is_err());
}

/// Is an authority, and the files that it writes.
struct Bench {
    issuer: CertifiedIssuer<'static, KeyPair>,
    authority: std::path::PathBuf,
    files: AdminTls,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name| directory.path().join(name);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        fs::write(path("ca.pem"), issuer.pem()).expect("written");
        let files = AdminTls { cert: path("cert.pem"), key: path("key.pem"), client_ca_file: None };
        Self { issuer, authority: path("ca.pem"), files, _directory: directory }
    }

    /// Writes a certificate that is good until that year, and its key.
    fn write(&self, year: i32) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(&self.files.cert, certificate.pem()).expect("written");
        fs::write(&self.files.key, key.serialize_pem()).expect("written");
        fs::set_permissions(&self.files.key, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    fn load(&self) -> (Arc<Certificate>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (Arc::new(Certificate::load(&self.files, Arc::clone(&metrics)).expect("they fit")), metrics)
    }

    /// Has a client say a word over TLS, and the server say it back.
    async fn talk(&self, certificate: &Certificate, identity: Option<(&Path, &Path)>) -> std::io::Result<()> {
        let (ours, theirs) = tokio::io::duplex(16 << 10);
        let acceptor = certificate.acceptor();
        let serving = tokio::spawn(async move {
            let mut stream = acceptor.accept(theirs).await?;
            let word = stream.read_u8().await?;
            stream.write_u8(word).await?;
            stream.shutdown().await
        });
        let config = tls::client_config_as(Some(&self.authority), identity).expect("a configuration");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, ours).await?;
        stream.write_u8(7).await?;
        let word = stream.read_u8().await?;
        assert_eq!(word, 7);
        serving.await.expect("no panic")
    }
}

fn year(certificate: &Certificate) -> i32 {
    certificate.state().0.strftime("%Y").to_string().parse().expect("a year")
}
