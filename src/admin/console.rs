//! The console: one page at `/`, put together from the files beside this one.
//!
//! The page is one answer, so that it also comes up where nothing else can be reached: style, libraries and program
//! are inside it, and nothing is ever loaded from elsewhere. It holds no data and needs no token; what it shows it
//! asks of the API. Its policy lets the browser run what is in the page, known by hash, and nothing else.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

const FRAME: &str = include_str!("console/index.html");
const STYLES: [&str; 2] = [include_str!("console/vendor/uplot.css"), include_str!("console/style.css")];
/// Each sets a global name that the program takes.
const LIBRARIES: [&str; 4] = [
    include_str!("console/vendor/preact.js"),
    include_str!("console/vendor/preact-hooks.js"),
    include_str!("console/vendor/htm.js"),
    include_str!("console/vendor/uplot.js"),
];
/// Together one module: a file sees the names of all others.
const PROGRAM: [&str; 14] = [
    include_str!("console/base.js"),
    include_str!("console/wording.js"),
    include_str!("console/api.js"),
    include_str!("console/json.js"),
    include_str!("console/parts.js"),
    include_str!("console/lanes.js"),
    include_str!("console/timeline.js"),
    include_str!("console/overview.js"),
    include_str!("console/events.js"),
    include_str!("console/event.js"),
    include_str!("console/dead.js"),
    include_str!("console/destinations.js"),
    include_str!("console/ledger.js"),
    include_str!("console/app.js"),
];

/// A browser may keep the page, and asks each time whether it is still this one.
const CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Is the page, made at the first request for it: most bridges are never looked at.
#[derive(Clone, Default)]
pub(super) struct Console(Arc<OnceLock<Page>>);

struct Page {
    plain: Form,
    gzip: Form,
    policy: HeaderValue,
}

/// Is the page as it goes over the wire, and the name of these very bytes.
struct Form {
    bytes: Bytes,
    etag: HeaderValue,
}

/// Returns the routes of this page.
pub(super) fn routes(console: Console) -> Router {
    Router::new().route("/", get(show)).with_state(console)
}

async fn show(State(console): State<Console>, headers: HeaderMap) -> Response {
    let page = console.0.get_or_init(Page::new);
    let zipped = accepts_gzip(&headers);
    let form = if zipped { &page.gzip } else { &page.plain };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| names(value, &form.etag));
    let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let body = if known { Bytes::new() } else { form.bytes.clone() };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, page.policy.clone());
    headers.insert(header::CACHE_CONTROL, CACHE);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::ETAG, form.etag.clone());
    if zipped && !known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

impl Page {
    fn new() -> Self {
        let style = STYLES.join("\n");
        let program = PROGRAM.join("\n");
        let libraries = LIBRARIES.map(without_map);
        let scripts: String = libraries.iter().map(|library| format!("<script>{library}</script>\n")).collect();
        let html = FRAME
            .replace("<!-- style -->", &format!("<style>{style}</style>"))
            .replace("<!-- program -->", &format!("{scripts}<script type=\"module\">{program}</script>"));
        let hashes: Vec<String> =
            libraries.iter().map(String::as_str).chain([program.as_str()]).map(source_hash).collect();
        // Trusted types: a line that set HTML from text would throw, whoever wrote it.
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hashes.join(" "),
            source_hash(&style)
        );
        let tag = hex::encode(&Sha256::digest(html.as_bytes())[..16]);
        let header = |text: String| HeaderValue::try_from(text).expect("hashes and words are ASCII");
        Self {
            gzip: Form { bytes: gzip(html.as_bytes()), etag: header(format!("\"{tag}-gzip\"")) },
            plain: Form { bytes: html.into(), etag: header(format!("\"{tag}\"")) },
            policy: header(policy),
        }
    }
}

/// Leaves out the line that has a debugger look for a file that is not here.
fn without_map(library: &str) -> String {
    library.lines().filter(|line| !line.starts_with("//# sourceMappingURL")).collect::<Vec<_>>().join("\n")
}

fn source_hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes every write").into()
}

/// Tells whether the browser can take the short form; one that says `q=0` cannot.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|value| value.split(',')).any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let refused = |weight: &str| weight.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(refused)
    })
}

/// Tells whether a list of tags has this one.
fn names(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(list), Ok(etag)) = (list.to_str(), etag.to_str()) else { return false };
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_one_file_that_names_no_other() {
        let page = Page::new();
        let html = std::str::from_utf8(&page.plain.bytes).expect("text");
        assert!(!html.contains("<!-- style -->") && !html.contains("<!-- program -->"));
        for foreign in ["src=\"", "url(http", "@import", "import ", "<link rel=\"stylesheet", "sourceMappingURL"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        // A closing tag within a script would end it early: those that are there are the ones that were put there.
        assert_eq!(html.matches("</script").count(), LIBRARIES.len() + 1);
        assert_eq!(html.matches("</style").count(), 1);
    }

    #[test]
    fn own_program_makes_no_html_of_text() {
        for file in PROGRAM {
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!file.contains(way), "{way}");
            }
        }
    }

    #[test]
    fn short_form_stays_below_its_limit() {
        let page = Page::new();
        assert!(page.gzip.bytes.len() < 64_000, "{}", page.gzip.bytes.len());
    }

    #[test]
    fn short_form_goes_to_those_alone_who_can_take_it() {
        let offers = [("gzip, deflate, br", true), ("br;q=1.0, GZIP;q=0.5", true), ("gzip;q=0", false), ("br", false)];
        for (offer, expected) in offers {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(offer))]);
            assert_eq!(accepts_gzip(&headers), expected, "{offer}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn page_that_is_known_is_not_sent_again() {
        let console = Console::default();
        let first = show(State(console.clone()), HeaderMap::new()).await;
        let etag = first.headers()[header::ETAG].clone();
        assert_eq!(first.status(), StatusCode::OK);
        let ask = |name: &HeaderValue| HeaderMap::from_iter([(header::IF_NONE_MATCH, name.clone())]);
        let again = show(State(console.clone()), ask(&etag)).await;
        assert_eq!((again.status(), &again.headers()[header::ETAG]), (StatusCode::NOT_MODIFIED, &etag));
        let other = show(State(console), ask(&HeaderValue::from_static("\"other\""))).await;
        assert_eq!(other.status(), StatusCode::OK);
    }
}
