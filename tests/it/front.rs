//! TLS before a handler: what a gateway does.

use std::fs;
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
    port: u16,
    authority: String,
}

impl Front {
    pub(crate) async fn before(lab: &Lab, clients: Clients) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
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
        let config = builder.with_single_cert(vec![made.cert.der().clone()], key).expect("a certificate");
        let (acceptor, handler) = (TlsAcceptor::from(Arc::new(config)), lab.handler("crm").url());
        let handler = handler.trim_start_matches("http://").trim_end_matches("/webhook").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, handler) = (acceptor.clone(), handler.clone());
                tokio::spawn(async move {
                    let Ok(mut near) = acceptor.accept(stream).await else { return };
                    let mut far = TcpStream::connect(&handler).await.expect("the handler");
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                });
            }
        });
        Self { port, authority: made.cert.pem() }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
