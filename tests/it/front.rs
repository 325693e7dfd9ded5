//! TLS before a handler: what a gateway does.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::lab::{Bridge, Lab};

/// Says whom a front lets in.
pub(crate) enum Clients {
    /// Everybody.
    Anybody,
    /// Those who show a certificate of this authority.
    Of(CertificateDer<'static>),
}

/// Is an encrypted front of a handler, as gateways have it.
pub(crate) struct Front {
    address: SocketAddr,
    authority: String,
}

impl Front {
    pub(crate) async fn before(lab: &Lab, clients: Clients) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let shown = (made.cert.der().clone(), key);
        let address = serve("127.0.0.1", shown, clients, address(&lab.handler("crm").url())).await;
        Self { address, authority: made.cert.pem() }
    }

    /// Stands at this address, shows a certificate for this name, and passes everything on to where the URL leads.
    pub(crate) async fn named(at: &str, shown: (CertificateDer<'static>, PrivateKeyDer<'static>), url: &str) -> Self {
        let address = serve(at, shown, Clients::Anybody, address(url)).await;
        Self { address, authority: String::new() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Adds these lines to the configuration of the destination, beside the authority of the front.
    pub(crate) fn configure(&self, lab: &mut Lab, lines: &str) {
        let ca_file = lab.directory.path().join("handler.pem");
        fs::write(&ca_file, &self.authority).expect("written");
        lab.destination_lines = format!("ca_file = {ca_file:?}\n{lines}");
    }

    /// Writes the configuration with the front as its destination.
    pub(crate) fn write(&self, lab: &Lab) {
        lab.write_configuration(&["crm"]);
        let text = fs::read_to_string(lab.file()).expect("written");
        let url = format!("https://{}/webhook", self.address());
        fs::write(lab.file(), text.replace(&lab.handler("crm").url(), &url)).expect("written");
    }

    /// Starts a bridge with the front as its destination.
    pub(crate) async fn bridge(&self, lab: &Lab) -> Bridge {
        self.write(lab);
        Bridge::start(lab.command(&["run"])).await
    }
}

/// Takes connections at an address, and passes on what they say.
async fn serve(
    at: &str,
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    clients: Clients,
    target: String,
) -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let builder = match clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::Of(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let config = builder.with_single_cert(vec![certificate], key).expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((at, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(stream).await else { return };
                let mut far = TcpStream::connect(&target).await.expect("it is there");
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
            });
        }
    });
    address
}

/// Returns host and port of a URL.
fn address(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("a URL");
    rest.split('/').next().expect("a host").to_owned()
}
