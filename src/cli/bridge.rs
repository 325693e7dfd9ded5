//! The running bridge, asked through its admin port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;
use crate::config::{Admin, Listen};
use crate::spool::is_in_use;
use crate::tls::fault::{distrust, fault};
use crate::tls::{self, certificate};

/// A port on the same machine or network takes a connection at once, or there is none.
const CONNECT: Duration = Duration::from_secs(3);
/// A little more than the bridge gives itself for an answer.
const ANSWER: Duration = Duration::from_secs(35);

/// Is a bridge that may be running.
pub(super) struct Bridge {
    client: Client,
    address: Listen,
    /// What URLs begin with.
    origin: String,
    token: Option<Secret>,
}

/// Is what came of asking.
pub(super) enum Answer {
    /// The document that was asked for.
    Document(String),
    /// Nothing listens there.
    NobodyThere,
}

/// Is the part of a problem document that people want to read.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    code: String,
}

impl Bridge {
    /// Names the bridge that the configuration is of; `None` when its port is off, or not known before it starts.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(super) fn at(admin: &Admin) -> anyhow::Result<Option<Self>> {
        let Some(listen) = &admin.listen else { return Ok(None) };
        let encrypted = admin.tls.is_some() || admin.ca_file.is_some();
        let own = admin.tls.as_ref().and_then(|tls| Some((&*tls.cert, tls::certificates(&tls.cert).ok()?)));
        let trusted = admin.ca_file.as_deref().or(own.as_ref().map(|(path, _)| *path));
        let identity = admin.client.as_ref().map(|(cert, key)| (&**cert, &**key));
        // A proxy of the environment is for the way out, and a redirect would carry the token away.
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config_as(trusted, identity)?)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER);
        let (client, address, origin) = match listen {
            Listen::Tcp(address) if address.port() == 0 => return Ok(None),
            Listen::Tcp(address) => {
                let address = reachable(*address);
                let certificate = own.as_ref().and_then(|(_, chain)| chain.first());
                let name = certificate.and_then(|certificate| certificate::name_for(certificate, address.ip()));
                let (client, origin) = match name {
                    _ if !encrypted => (client, format!("http://{address}")),
                    None => (client, format!("https://{address}")),
                    Some(name) => (client.resolve(&name, address), format!("https://{name}:{}", address.port())),
                };
                (client, Listen::Tcp(address), origin)
            }
            Listen::Unix(path) => (client.unix_socket(path.clone()), listen.clone(), "http://localhost".to_owned()),
        };
        let client = client.build().context("cannot make an http client")?;
        Ok(Some(Self { client, address, origin, token: admin.token.clone() }))
    }

    /// Returns the address that is asked.
    pub(super) fn address(&self) -> &Listen {
        &self.address
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// When something listens and does not answer as asked.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(self.client.get(self.url(path))).await
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// When something listens and does not answer as asked.
    pub(super) async fn post<T: Serialize>(&self, path: &str, body: &T) -> anyhow::Result<Answer> {
        self.ask(self.client.post(self.url(path)).json(body)).await
    }

    /// Sets something anew.
    ///
    /// # Errors
    /// When something listens and does not answer as asked.
    pub(super) async fn put<T: Serialize>(&self, path: &str, body: &T) -> anyhow::Result<Answer> {
        self.ask(self.client.put(self.url(path)).json(body)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let address = &self.address;
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if is_forbidden(&error) => {
                return Err(anyhow!("{address} does not let you in: be the user of the bridge, or in its group"));
            }
            Err(error) if fault(&error).is_some() => {
                let shown = "what it shows is the tls_cert of its configuration";
                return Err(match distrust(&error) {
                    Some(words) => anyhow!("{address} is not trusted: {words}; {shown}"),
                    None => anyhow!(error.without_url()).context(format!("{address} is not trusted: no tls with it")),
                });
            }
            Err(error) if error.is_connect() => return Ok(Answer::NobodyThere),
            Err(error) => return Err(error.without_url()).context(format!("no answer from the bridge on {address}")),
        };
        let status = response.status();
        let text = response.text().await.map_err(reqwest::Error::without_url);
        let text = text.with_context(|| format!("the bridge on {address} broke off its answer"))?;
        if status.is_success() {
            return Ok(Answer::Document(text));
        }
        if status == StatusCode::UNAUTHORIZED {
            let token = if self.token.is_some() { "another admin token" } else { "its admin token" };
            return Err(anyhow!(
                "the bridge on {address} asks for {token}: set ZOOMHOOK_ADMIN_TOKEN or admin.token to it"
            ));
        }
        match serde_json::from_str::<Problem>(&text) {
            // It has refused nothing, and may do it yet.
            Ok(problem) if problem.code == "timeout" => Err(anyhow!("the bridge on {address}: {}", problem.detail)),
            Ok(problem) => Err(anyhow!("the bridge on {address} refuses: {}", problem.detail)),
            Err(_) => Err(anyhow!("what listens on {address} is no zoomhook bridge: it answered {status}")),
        }
    }
}

/// Refuses to go by the file of a spool that a bridge works on, and says how to reach that bridge: it must not be ended
/// for it, since what Zoom sends meanwhile would be lost.
///
/// # Errors
/// When the spool is in use; `asked` is the address that nobody answers on.
pub(super) fn ensure_at_rest(spool: &Path, asked: Option<&Listen>) -> anyhow::Result<()> {
    if !is_in_use(spool) {
        return Ok(());
    }
    let port = match asked {
        Some(address) => format!("does not answer on {address}; give --listen with its address"),
        None => "this command has no address of it: give --listen with that, or, where its admin port is off, \
                 switch it on (admin.listen)"
            .to_owned(),
    };
    Err(anyhow!("a bridge works on the spool {}, but {port}", spool.display()))
}

/// Tells whether the mode of a socket file keeps us out: somebody is there all the same.
fn is_forbidden(error: &reqwest::Error) -> bool {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    anyhow::Chain::new(error).any(|cause| cause.downcast_ref().is_some_and(denied))
}

/// Turns an address to listen on into one to connect to: "any" means this machine too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn token_goes_along_and_the_document_comes_back() {
        let echo = async |headers: HeaderMap| headers["authorization"].to_str().unwrap_or_default().to_owned();
        let address = listen(Router::new().route("/echo", get(echo))).await;
        let Answer::Document(text) = bridge(address).get("/echo").await.expect("an answer") else {
            panic!("nobody there")
        };
        assert_eq!(text, "Bearer canary");
    }

    #[tokio::test]
    async fn refusal_is_told_in_the_words_of_the_bridge() {
        let refuse = async || (StatusCode::BAD_REQUEST, r#"{"code":"bad_body","detail":"choose events"}"#);
        let foreign = async || (StatusCode::BAD_GATEWAY, "<html>");
        let address = listen(Router::new().route("/refuse", post(refuse)).route("/foreign", get(foreign))).await;
        let refused = bridge(address).post("/refuse", &"").await.err().expect("a refusal").to_string();
        assert_eq!(refused, format!("the bridge on {address} refuses: choose events"));
        let foreign = bridge(address).get("/foreign").await.err().expect("a refusal").to_string();
        assert_eq!(foreign, format!("what listens on {address} is no zoomhook bridge: it answered 502 Bad Gateway"));
    }

    #[tokio::test]
    async fn change_that_may_come_about_yet_is_not_said_to_be_refused() {
        let late = async || (StatusCode::SERVICE_UNAVAILABLE, r#"{"code":"timeout","detail":"not done within 30 s"}"#);
        let address = listen(Router::new().route("/late", post(late))).await;
        let told = bridge(address).post("/late", &"").await.err().expect("no answer").to_string();
        assert_eq!(told, format!("the bridge on {address}: not done within 30 s"));
    }

    #[tokio::test]
    async fn token_that_is_refused_is_said_to_be_another() {
        let address = listen(Router::new().route("/", get(async || StatusCode::UNAUTHORIZED))).await;
        let refused = bridge(address).get("/").await.err().expect("a refusal").to_string();
        assert!(refused.contains("asks for another admin token: set ZOOMHOOK_ADMIN_TOKEN"), "{refused}");
    }

    #[tokio::test]
    async fn port_that_nobody_listens_on_is_no_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        assert!(matches!(bridge(address).get("/").await, Ok(Answer::NobodyThere)));
    }

    #[test]
    fn any_address_is_reached_on_this_machine() {
        for (listen, address) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("10.1.2.3:1", "10.1.2.3:1"),
        ] {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), address);
        }
    }

    fn bridge(address: SocketAddr) -> Bridge {
        let admin = Admin { token: Some(Secret::new("canary")), ..Admin::new(Some(Listen::Tcp(address))) };
        Bridge::at(&admin).expect("a client").expect("a known port")
    }

    async fn listen(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}
