//! Handshakes over memory, with files that change between them.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

#[tokio::test]
async fn authority_that_is_exchanged_counts_from_the_next_connection_on() {
    let bench = Bench::new();
    let (old, new) = (bench.authority("old"), bench.authority("new"));
    let ca_file = bench.write("ca.pem", &old.pem());
    let client = client(Some(&ca_file), &TlsRules::DEFAULT);
    let (of_old, of_new) = (server(&old, None), server(&new, None));
    assert_eq!(shake(&client, &of_old).await, Ok(()));
    assert!(shake(&client, &of_new).await.is_err_and(|error| error.contains("UnknownIssuer")));

    bench.write("ca.pem", &new.pem());
    assert_eq!(shake(&client, &of_new).await, Ok(()));
    assert!(shake(&client, &of_old).await.is_err(), "a session is not resumed past the exchange");

    bench.write("ca.pem", "nothing");
    assert_eq!(shake(&client, &of_new).await, Ok(()), "what is no good changes nothing");
    std::fs::remove_file(&ca_file).expect("it was there");
    assert_eq!(shake(&client, &of_new).await, Ok(()));
}

#[tokio::test]
async fn files_alone_are_trusted_where_that_is_asked_for() {
    let bench = Bench::new();
    let (inside, outside) = (bench.authority("inside"), bench.authority("outside"));
    let ca_file = bench.write("inside.pem", &inside.pem());
    let mut store = RootCertStore::empty();
    add_file(&mut store, &bench.write("outside.pem", &outside.pem())).expect("an authority");
    // A machine that trusts the outside.
    let roots = Roots { store: Arc::new(store), watches: Arc::default() };
    for (system, taken) in [(SystemRoots::Trusted, true), (SystemRoots::Ignored, false)] {
        let rules = TlsRules { system, ..TlsRules::DEFAULT };
        let client = roots.client(Some(&ca_file), &rules).expect("a client");
        assert_eq!(shake(&client, &server(&inside, None)).await, Ok(()));
        assert_eq!(shake(&client, &server(&outside, None)).await.is_ok(), taken, "{system:?}");
    }
    let nobody = TlsRules { system: SystemRoots::Ignored, ..TlsRules::DEFAULT };
    assert!(roots.client(None, &nobody).is_err(), "nobody is trusted where nobody is named");
}

#[tokio::test]
async fn authorities_of_the_side_are_trusted_beside_the_own_ones() {
    let bench = Bench::new();
    let (own, side) = (bench.authority("own"), bench.authority("side"));
    let ca_file = bench.write("own.pem", &own.pem());
    let rules = TlsRules { side_ca_file: Some(bench.write("side.pem", &side.pem())), ..TlsRules::DEFAULT };
    let client = client(Some(&ca_file), &rules);
    for authority in [&own, &side] {
        assert_eq!(shake(&client, &server(authority, None)).await, Ok(()));
    }
}

#[tokio::test]
async fn older_version_is_not_spoken_where_it_is_forbidden() {
    let bench = Bench::new();
    let authority = bench.authority("house");
    let ca_file = bench.write("ca.pem", &authority.pem());
    let old = server_of(&authority, None, &[&TLS12]);
    assert_eq!(shake(&client(Some(&ca_file), &TlsRules::DEFAULT), &old).await, Ok(()));
    let strict = TlsRules { min_version: TlsVersion::Tls13, ..TlsRules::DEFAULT };
    assert!(shake(&client(Some(&ca_file), &strict), &old).await.is_err());
    assert_eq!(shake(&client(Some(&ca_file), &strict), &server(&authority, None)).await, Ok(()));
}

#[tokio::test]
async fn certificate_of_the_client_is_exchanged_under_way_and_kept_when_the_new_one_is_no_good() {
    let bench = Bench::new();
    let (old, new) = (bench.authority("old"), bench.authority("new"));
    let ca_file = bench.write("ca.pem", &old.pem());
    let identity = bench.identity(&old);
    let rules = TlsRules { identity: Some(identity.clone()), ..TlsRules::DEFAULT };
    let with = client(Some(&ca_file), &rules);
    let (wants_old, wants_new) = (server(&old, Some(&old)), server(&old, Some(&new)));
    assert!(shake(&client(Some(&ca_file), &TlsRules::DEFAULT), &wants_old).await.is_err(), "it shows none");
    assert_eq!(shake(&with, &wants_old).await, Ok(()));
    assert!(shake(&with, &wants_new).await.is_err());

    bench.identity(&new);
    assert_eq!(shake(&with, &wants_new).await, Ok(()));
    std::fs::write(&identity.1, KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    assert_eq!(shake(&with, &wants_new).await, Ok(()), "a key that does not fit is not used");
}

#[test]
fn key_that_everybody_can_read_is_refused_with_the_cure() {
    let bench = Bench::new();
    let (cert, key) = bench.identity(&bench.authority("house"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let rules = TlsRules { identity: Some((cert, key.clone())), ..TlsRules::DEFAULT };
    let error = Roots::load().client(None, &rules).expect_err("exposed").to_string();
    assert!(error.contains(&format!("chmod o= {}", key.display())), "{error}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    assert!(Roots::load().client(None, &rules).is_ok(), "a group is for such things");
}

#[test]
fn files_that_everybody_can_write_are_refused_with_the_cure() {
    let bench = Bench::new();
    let house = bench.authority("house");
    let ca_file = bench.write("ca.pem", &house.pem());
    let (cert, key) = bench.identity(&house);
    let rules = TlsRules { identity: Some((cert.clone(), key.clone())), ..TlsRules::DEFAULT };
    for file in [&ca_file, &cert, &key] {
        let mode = |mode| std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("a mode");
        mode(0o602);
        let error = Roots::load().client(Some(&ca_file), &rules).expect_err("writable").to_string();
        assert!(error.contains(&format!("chmod o-w {}", file.display())), "{error}");
        mode(0o660);
        assert!(Roots::load().client(Some(&ca_file), &rules).is_ok(), "a group is for such things");
    }
}

#[tokio::test]
async fn authority_that_anybody_could_have_put_there_is_not_trusted() {
    let bench = Bench::new();
    let (old, new) = (bench.authority("old"), bench.authority("new"));
    let ca_file = bench.write("ca.pem", &old.pem());
    let client = client(Some(&ca_file), &TlsRules::DEFAULT);
    bench.write("ca.pem", &new.pem());
    std::fs::set_permissions(&ca_file, std::fs::Permissions::from_mode(0o666)).expect("a mode");
    assert!(shake(&client, &server(&new, None)).await.is_err());
    assert_eq!(shake(&client, &server(&old, None)).await, Ok(()));
}

type Authority = CertifiedIssuer<'static, KeyPair>;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn authority(&self, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
    }

    /// Replaces a file as renewals do it: whole, under its name.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.0.path().join(name), self.0.path().join("new"));
        std::fs::write(&new, text).expect("written");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        std::fs::rename(&new, &path).expect("renamed");
        path
    }

    fn identity(&self, authority: &Authority) -> (PathBuf, PathBuf) {
        let (cert, key) = signed(authority);
        (self.write("client.pem", &cert), self.write("client.key", &key))
    }
}

fn signed(authority: &Authority) -> (String, String) {
    let pair = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["crm.internal".to_owned()]).expect("a name");
    (params.signed_by(&pair, authority).expect("a certificate").pem(), pair.serialize_pem())
}

fn client(ca_file: Option<&Path>, rules: &TlsRules) -> ClientConfig {
    Roots::load().client(ca_file, rules).expect("a client")
}

fn server(authority: &Authority, clients: Option<&Authority>) -> ServerConfig {
    server_of(authority, clients, &[&TLS13, &TLS12])
}

fn server_of(
    authority: &Authority,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).expect("an authority");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let (cert, key) = signed(authority);
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    builder.with_single_cert(vec![cert], key).expect("a pair")
}

/// Speaks over TLS once, each way.
async fn shake(client: &ClientConfig, server: &ServerConfig) -> Result<(), String> {
    let (near, far) = duplex(64 << 10);
    let acceptor = TlsAcceptor::from(Arc::new(server.clone()));
    let serving = tokio::spawn(async move {
        let Ok(mut stream) = acceptor.accept(far).await else { return };
        stream.write_all(b"!").await.ok();
        stream.flush().await.ok();
        stream.read_u8().await.ok();
    });
    let name = ServerName::try_from("crm.internal").expect("a name");
    let talk = async {
        let mut stream = TlsConnector::from(Arc::new(client.clone())).connect(name, near).await?;
        stream.read_exact(&mut [0]).await
    };
    let outcome = talk.await.map(drop).map_err(|error: std::io::Error| error.to_string());
    serving.await.expect("no panic");
    outcome
}
