//! Who may ask.
//!
//! A token is compared in constant time; whoever shows a wrong one is refused, as often as they like, and locks nobody
//! out by it. Without one the port listens on loopback only, where the
//! danger is a browser on the same machine: a page that rebinds its own name to 127.0.0.1 is told by
//! `Host`, encrypted or not, and a form that posts across origins cannot send a JSON content type without asking first.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use tokio::time::Instant;

use super::caller::{Caller, Role};
use super::certificate::Certificate;
use super::door::Peer;
use super::problem::{Code, Problem};
use super::rarely::Rarely;
use crate::config::secret::Secret;
use crate::telemetry::metrics::{ByReason, Metrics};

/// Paths that ask for nothing: probes of service managers know no tokens, and the console, which holds no data, is
/// where a person types one.
const OPEN: [&str; 3] = ["/", "/livez", "/readyz"];

/// Says what a request must show.
#[derive(Clone)]
pub(super) enum Guard {
    /// A bearer token: the operator's, or that of viewers, if they have one.
    Token(Secret, Option<Secret>),
    /// A `Host` that names this machine.
    LoopbackHost,
    /// The same, or one that the certificate of the port is good for: a browser may have been told to pass over a
    /// certificate for another name.
    CertifiedHost(Arc<Certificate>),
    /// Nothing: whoever gets this far is an operator. No browser can open a Unix socket.
    Nothing,
}

impl Guard {
    /// Returns what it refuses requests for.
    pub(super) fn refusals(&self) -> &'static [Code] {
        match self {
            Self::Token(..) => &[Code::Unauthorized],
            Self::LoopbackHost | Self::CertifiedHost(_) => &[Code::HostRefused],
            Self::Nothing => &[],
        }
    }

    fn role(&self, headers: &HeaderMap) -> Result<Role, Problem> {
        match self {
            Self::Token(token, viewer_token) => {
                let shown = Secret::new(bearer(headers).ok_or(Problem::Unauthorized)?);
                // Both are always compared: how long it takes says nothing.
                match (shown == *token, viewer_token.as_ref() == Some(&shown)) {
                    (true, _) => Ok(Role::Operator),
                    (false, true) => Ok(Role::Viewer),
                    (false, false) => Err(Problem::Unauthorized),
                }
            }
            Self::LoopbackHost => {
                host(headers).filter(|host| is_loopback(host)).map(|_| Role::Operator).ok_or(Problem::HostRefused)
            }
            Self::CertifiedHost(certificate) => {
                let ours = |host: &&str| is_loopback(host) || certificate.names(host);
                host(headers).filter(ours).map(|_| Role::Operator).ok_or(Problem::HostRefused)
            }
            Self::Nothing => Ok(Role::Operator),
        }
    }
}

/// Is what every request passes; clones share it.
#[derive(Clone)]
pub(super) struct Gate(Arc<Inner>);

struct Inner {
    guard: Guard,
    metrics: Arc<Metrics>,
    warnings: Rarely,
}

impl Gate {
    pub(super) fn new(guard: Guard, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { guard, metrics, warnings: Rarely::default() }))
    }

    fn check(&self, request: &Request) -> Result<Caller, Problem> {
        check_form(request)?;
        let peer = request.extensions().get().copied();
        if is_open(request.uri().path()) {
            return Ok(Caller { role: Role::Viewer, peer });
        }
        let role = self.0.guard.role(request.headers())?;
        if !request.method().is_safe() && role != Role::Operator {
            return Err(Problem::OperatorOnly);
        }
        Ok(Caller { role, peer })
    }

    /// Counts a refusal, and says so in the log now and then: guessing a token is to be noticed, and to cost little.
    fn refuse(&self, problem: Problem, request: &Request) -> Problem {
        let code = problem.code();
        self.0.metrics.admin_refusals.get_or_create(&ByReason { reason: code }).inc();
        if let Some(unsaid) = self.0.warnings.now(Instant::now()) {
            let peer = request.extensions().get::<Peer>().map(Peer::to_string).unwrap_or_default();
            tracing::warn!(code, peer, unsaid, "the admin port refused a request");
        }
        problem
    }
}

/// Lets a request through that shows what it must, and tells its handler who it is from.
pub(super) async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Result<Response, Problem> {
    match gate.check(&request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(next.run(request).await)
        }
        Err(problem) => Err(gate.refuse(problem, &request)),
    }
}

/// Lets a change through that is asked for in JSON; the routes have found by then that there is such a change.
pub(super) async fn only_json(State(gate): State<Gate>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.method().is_safe() || is_json(request.headers()) {
        return Ok(next.run(request).await);
    }
    Err(gate.refuse(Problem::NotJson, &request))
}

/// Refuses what one reader could take for another request than the next one does, so that none of them can be tricked.
fn check_form(request: &Request) -> Result<(), Problem> {
    if request.uri().authority().is_some() {
        return Err(Problem::BadRequest("send the path alone in the first line, and the name of the host in `host`"));
    }
    let headers = request.headers();
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Problem::BadRequest("send one `host`"));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Problem::BadRequest("send a body with its `content-length`, not with `transfer-encoding`"));
    }
    Ok(())
}

/// Tells whether a path asks for nothing.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Returns the name or the address that a request is for, without port and brackets.
fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    Some(name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::AdminTls;

    #[test]
    fn only_the_very_token_is_let_through() {
        let guard = Guard::Token(Secret::new("s3cret"), Some(Secret::new("l00k")));
        for shown in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"] {
            assert_eq!(role(&guard, shown), Some(Role::Operator), "{shown}");
        }
        assert_eq!(role(&guard, "Bearer l00k"), Some(Role::Viewer));
        for shown in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "Bearer", "s3cret", "Basic s3cret", "Bearer l00", ""]
        {
            assert_eq!(role(&guard, shown), None, "{shown}");
        }
        assert!(matches!(guard.role(&HeaderMap::new()), Err(Problem::Unauthorized)));
    }

    #[test]
    fn without_a_token_only_this_machine_may_be_named() {
        let guard = Guard::LoopbackHost;
        for host in ["localhost", "LOCALHOST:8686", "127.0.0.1:8686", "127.9.9.9", "[::1]:8686", "[::1]"] {
            assert!(guard.role(&headers(header::HOST, host)).is_ok(), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8686", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example"]
        {
            assert!(matches!(guard.role(&headers(header::HOST, host)), Err(Problem::HostRefused)), "{host}");
        }
        assert!(matches!(guard.role(&HeaderMap::new()), Err(Problem::HostRefused)));
    }

    #[test]
    fn encrypted_port_may_be_named_as_its_certificate_names_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = ["zoomhook.bank.internal", "*.ops.internal", "10.1.2.3", "fd00::5"];
        let guard = Guard::CertifiedHost(certified(directory.path(), &names));
        for host in [
            "zoomhook.bank.internal",
            "ZOOMHOOK.bank.internal:8686",
            "a.ops.internal:443",
            "10.1.2.3:8686",
            "10.1.2.3",
            "[fd00::5]:8686",
            "localhost:8686",
            "127.0.0.1:8686",
            "[::1]:8686",
        ] {
            assert!(guard.role(&headers(header::HOST, host)).is_ok(), "{host}");
        }
        for host in [
            "evil.example:8686",
            "bank.internal",
            "zoomhook.bank.internal.evil.example",
            "a.b.ops.internal",
            "ops.internal",
            "10.1.2.4",
            "[fd00::6]:8686",
            "*.ops.internal",
            "",
            ":8686",
        ] {
            assert!(matches!(guard.role(&headers(header::HOST, host)), Err(Problem::HostRefused)), "{host}");
        }
        assert!(matches!(guard.role(&HeaderMap::new()), Err(Problem::HostRefused)));
    }

    #[test]
    fn content_type_of_forms_is_not_json() {
        for value in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is_json(&headers(header::CONTENT_TYPE, value)), "{value}");
        }
        for value in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "text/plain; application/json"]
        {
            assert!(!is_json(&headers(header::CONTENT_TYPE, value)), "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    /// Makes what an encrypted port shows of itself, for these names.
    fn certified(directory: &Path, names: &[&str]) -> Arc<Certificate> {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let files = AdminTls { cert: directory.join("cert"), key: directory.join("key"), client_ca_file: None };
        fs::write(&files.cert, params.self_signed(&key).expect("a certificate").pem()).expect("written");
        fs::write(&files.key, key.serialize_pem()).expect("written");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("a mode");
        Arc::new(Certificate::load(&files, Arc::default()).expect("they fit"))
    }

    fn role(guard: &Guard, shown: &str) -> Option<Role> {
        guard.role(&headers(header::AUTHORIZATION, shown)).ok()
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header value"))])
    }
}
