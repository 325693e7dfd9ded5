//! One request to the token endpoint, and what its answer means.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;
use url::{Position, Url};

use super::TokenError;
use crate::clock::Clock;
use crate::config::proxy::Outbound;
use crate::config::secret::{Secret, basic_pair, header_value};
use crate::config::tls::TlsRules;
use crate::config::{Grant, Subscription};
use crate::net;
use crate::net::guard::Guard;
use crate::telemetry::metrics::Expiry;
use crate::tls::Roots;
use crate::tls::fault::{distrust, fault};
use crate::zoom::{SetupError, plain, throttled_until};

/// How long a request may take, connection and body included.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long connecting may take. The addresses of a name share it evenly, so that one that never answers is not all there is.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection through a proxy may take: after it there is time to find out what is wrong with the proxy.
const THROUGH_PROXY: Duration = Duration::from_secs(6);
/// Bytes that are read of an answer. A token takes 1.5 kB; an error page may be endless.
const LONGEST_ANSWER: usize = 64 << 10;
/// Life of a token where the answer names none, as Zoom's documentation has it.
const LIFE: i64 = 3600;
/// A token is not used in the last minute of its life, nor in the second half of a short one.
const MARGIN: i64 = 60;

/// Is what a token is asked for with.
#[derive(PartialEq)]
pub(super) struct Credentials {
    token_url: Url,
    grant: Grant,
    account_id: Option<Box<str>>,
    client_id: Box<str>,
    client_secret: Secret,
    ca_file: Option<PathBuf>,
    tls: TlsRules,
    outbound: Outbound,
}

/// Is the grant of one request.
#[derive(Clone, Copy)]
pub(super) enum Ask {
    Account,
    Client,
}

impl Ask {
    /// Returns the grant as it is spelt on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Account => "account_credentials",
            Self::Client => "client_credentials",
        }
    }
}

impl Credentials {
    pub(super) fn of(subscription: &Subscription) -> Self {
        Self {
            token_url: subscription.token_url.clone(),
            grant: subscription.grant,
            account_id: subscription.account_id.clone(),
            client_id: subscription.client_id.clone(),
            client_secret: subscription.client_secret.clone(),
            ca_file: subscription.ca_file.clone(),
            tls: subscription.tls.clone(),
            outbound: subscription.outbound.clone(),
        }
    }

    /// Tells whether both bring tokens of the same app and account.
    pub(super) fn are_for_the_tokens_of(&self, other: &Self) -> bool {
        self.token_url == other.token_url
            && self.account_id == other.account_id
            && self.client_id == other.client_id
            && self.client_secret == other.client_secret
    }

    /// Tells whether the configuration lets this grant be asked for.
    pub(super) fn may_ask(&self, ask: Ask) -> bool {
        match (self.grant, ask) {
            (Grant::Auto, Ask::Account) => self.account_id.is_some(),
            (Grant::AccountCredentials, Ask::Account) | (Grant::Auto | Grant::ClientCredentials, Ask::Client) => true,
            (Grant::AccountCredentials, Ask::Client) | (Grant::ClientCredentials, Ask::Account) => false,
        }
    }

    /// Returns the grant to begin with.
    pub(super) fn first_ask(&self) -> Ask {
        match self.grant {
            Grant::Auto if self.account_id.is_none() => Ask::Client,
            Grant::Auto | Grant::AccountCredentials => Ask::Account,
            Grant::ClientCredentials => Ask::Client,
        }
    }

    /// Returns the grant to try when this one is refused, if there is a choice.
    pub(super) fn other_ask(&self, refused: Ask) -> Option<Ask> {
        match (self.grant, refused) {
            (Grant::Auto, Ask::Account) => Some(Ask::Client),
            (Grant::Auto, Ask::Client) => self.account_id.is_some().then_some(Ask::Account),
            (Grant::AccountCredentials | Grant::ClientCredentials, _) => None,
        }
    }
}

/// Is a token that was fetched.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) value: Secret,
    pub(super) good_until: Timestamp,
}

/// Is what one request came to.
pub(super) enum Answer {
    Token(Fetched),
    /// The endpoint did not like this grant, and may like the other one.
    WrongGrant(TokenError),
    Failed(TokenError),
}

/// Asks for tokens.
pub(super) struct Endpoint {
    credentials: Credentials,
    /// The credentials as every request shows them.
    basic: HeaderValue,
    client: Client,
    expiry: Expiry,
}

impl Endpoint {
    pub(super) fn new(credentials: Credentials, roots: &Roots) -> Result<Self, SetupError> {
        let expiry = Expiry::default();
        let roots = roots.watching(&credentials.token_url, expiry.clone());
        let is_proxied = credentials.outbound.proxy_for(&credentials.token_url).is_some();
        let client = Client::builder()
            .connect_timeout(if is_proxied { THROUGH_PROXY } else { CONNECT })
            .tls_backend_preconfigured(roots.client(credentials.ca_file.as_deref(), &credentials.tls)?)
            .user_agent(concat!("zoomhook/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            // Credentials go to the configured host and nowhere else.
            .redirect(Policy::none())
            .dns_resolver(Guard::new(None))
            .proxy(net::proxy::for_reqwest(credentials.outbound.clone()))
            // The next request comes in an hour, by which time the connection is gone.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(SetupError::Client)?;
        let pair = basic_pair(&credentials.client_id, &credentials.client_secret);
        let basic = header_value(&["Basic ", pair.as_str()]).expect("base64 fits into a header");
        Ok(Self { credentials, basic, client, expiry })
    }

    /// Tells when the certificate expires that the endpoint showed.
    pub(super) fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Asks once.
    pub(super) async fn request(&self, ask: Ask, clock: &Clock) -> Answer {
        let credentials = &self.credentials;
        let mut form = vec![("grant_type", ask.name())];
        if let (Ask::Account, Some(account_id)) = (ask, &credentials.account_id) {
            form.push(("account_id", account_id));
        }
        let sent = self
            .client
            .post(credentials.token_url.clone())
            .header(AUTHORIZATION, self.basic.clone())
            .form(&form)
            .send()
            .await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Answer::Failed(self.no_answer(&error).await),
        };
        match read(&mut response).await {
            Ok(body) => self.judge(&response, &body, clock.now()),
            Err(error) => Answer::Failed(self.unreachable(&error)),
        }
    }

    fn judge(&self, response: &Response, body: &[u8], now: Timestamp) -> Answer {
        let status = response.status().as_u16();
        let body = Body::of(body);
        if status == 200 {
            return match body.token(now) {
                Some(token) => Answer::Token(token),
                None => Answer::Failed(self.hiccup(status, &body)),
            };
        }
        match (status, throttled_until(response.headers(), now), &body) {
            (429 | 503, Some(until), _) => {
                Answer::Failed(TokenError::Throttled { until, reason: self.answered(status, &body).into() })
            }
            (408 | 425 | 429, _, _) => Answer::Failed(self.hiccup(status, &body)),
            (400, _, Body::Object(_)) if body.is_about_the_grant() => Answer::WrongGrant(self.refused(status, &body)),
            (400..500, _, Body::Object(_)) | (401, _, _) => Answer::Failed(self.refused(status, &body)),
            _ => Answer::Failed(self.hiccup(status, &body)),
        }
    }

    fn refused(&self, status: u16, body: &Body) -> TokenError {
        let reason = match body.words() {
            Some(words) => plain(words, &self.credentials.client_secret),
            None => self.answered(status, body),
        };
        TokenError::Credentials { reason: reason.into() }
    }

    fn hiccup(&self, status: u16, body: &Body) -> TokenError {
        TokenError::Hiccup { reason: self.answered(status, body).into() }
    }

    fn answered(&self, status: u16, body: &Body) -> String {
        let host = self.host();
        let words = body.words().map(|words| plain(words, &self.credentials.client_secret));
        match (status, body, words) {
            (300..400, _, _) => format!("{host} answers {status} and points elsewhere; check token_url"),
            (_, _, Some(words)) => format!("{host} answers {status}: {words}"),
            (_, Body::Html, None) => format!("{host} answers {status} with an html page instead of a token"),
            (200, Body::Object(_) | Body::Other, None) => format!("{host} answers {status} without a token"),
            (_, Body::Object(_) | Body::Other, None) => format!("{host} answers {status}"),
        }
    }

    /// Looks at the proxy first, where there is one and no connection came about.
    async fn no_answer(&self, error: &reqwest::Error) -> TokenError {
        let Credentials { outbound, token_url, .. } = &self.credentials;
        if error.is_connect()
            && fault(error).is_none()
            && let Some(wrong) = net::proxy::fault(outbound, token_url, error).await
        {
            return TokenError::Proxy {
                fault: wrong.fault,
                reason: format!("no token from {}: {wrong}", self.host()).into(),
            };
        }
        self.unreachable(error)
    }

    fn unreachable(&self, error: &reqwest::Error) -> TokenError {
        let host = self.host();
        let reason = if error.is_timeout() {
            let proxy = self.credentials.outbound.proxy_for(&self.credentials.token_url);
            let through = proxy.map(|proxy| format!(" through {proxy}")).unwrap_or_default();
            format!("no token from {host}{through} within {} s", TIMEOUT.as_secs())
        } else if let Some(words) = distrust(error) {
            format!("no token from {host}: {words}")
        } else {
            // The innermost cause is what helps, and the outermost text would show the URL.
            let mut cause = error.source();
            while let Some(inner) = cause.and_then(|cause| cause.source()) {
                cause = Some(inner);
            }
            let cause = cause.map_or_else(|| "request failed".to_owned(), ToString::to_string);
            format!("no token from {host}: {}", plain(&cause, &self.credentials.client_secret))
        };
        TokenError::Hiccup { reason: reason.into() }
    }

    fn host(&self) -> &str {
        &self.credentials.token_url[Position::BeforeHost..Position::AfterPort]
    }
}

async fn read(response: &mut Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < LONGEST_ANSWER
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

enum Body {
    Object(serde_json::Map<String, Value>),
    Html,
    Other,
}

impl Body {
    fn of(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(object) => Self::Object(object),
            Err(_) if body.trim_ascii_start().starts_with(b"<") => Self::Html,
            Err(_) => Self::Other,
        }
    }

    fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(object) => object.get(name),
            Self::Html | Self::Other => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.field(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Returns what an error says of itself, in the order in which Zoom's fields help, as captured from Zoom.
    fn words(&self) -> Option<&str> {
        ["reason", "error", "message"].into_iter().find_map(|name| self.text(name))
    }

    fn is_about_the_grant(&self) -> bool {
        let error = self.text("error").unwrap_or_default();
        let reason = self.text("reason").unwrap_or_default().to_ascii_lowercase();
        error == "invalid_request" || error.contains("grant") || reason.contains("grant")
    }

    fn token(&self, now: Timestamp) -> Option<Fetched> {
        let value = Secret::new(self.text("access_token")?);
        let life = self.field("expires_in").and_then(seconds).unwrap_or(LIFE);
        let used = SignedDuration::from_secs(life - MARGIN.min(life / 2));
        Some(Fetched { value, good_until: now.saturating_add(used).unwrap_or(Timestamp::MAX) })
    }
}

fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).filter(|seconds| *seconds > 0)
}
