//! The rules on whole configurations.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use zeroize::Zeroizing;

use super::problem::{Problem, Problems};
use super::reference::Stored;
use super::source::{Environment, File, Flags, Sources};
use super::*;

/// Is in every secret that the tests hand out, and must be in nothing that they are shown.
const CANARY: &str = "canary";

const VARIABLES: [(&str, &str); 11] = [
    ("ZOOM_ACCOUNT_ID", "account"),
    ("ZOOM_CLIENT_ID", "client"),
    ("ZOOM_CLIENT_SECRET", "canary-client-secret"),
    ("ZOOM_SUBSCRIPTION_ID", "subscription"),
    ("OTHER_SUBSCRIPTION_ID", "other-subscription"),
    ("CRM_SECRET_TOKEN", "canary-token"),
    ("ADMIN_TOKEN", "canary-admin"),
    ("STANDARD_SECRET", "whsec_canaryMDEyMzQ1Njc4OWFiY2Rl"),
    ("PASTED_URL", "wss://ws.zoom.us/ws?subscriptionId=from-url"),
    ("PROXY_CREDENTIALS", "bridge:canary-proxy"),
    ("EMPTY", ""),
];

const FILES: [(&str, &[u8]); 15] = [
    ("/run/secrets/spool_key", b"canary/canary/canary/canary/canary/canary0M=\n"),
    ("/run/secrets/old_spool_key", b"canary/canary/canary/canary/canary/canary1M=\n"),
    ("/run/credentials/zoomhook.service/zoom_client_secret", b"canary-credential\n"),
    ("vault read -field=value secret/crm", b"canary-command\n"),
    ("vault read -field=value secret/binary", b"canary\xff"),
    ("/run/secrets/zoom_client_secret", b"canary-file\n"),
    ("/run/secrets/crm_secret_token", b"canary-file\r\n"),
    ("/run/secrets/admin_token", b"canary-file"),
    ("/run/secrets/empty", b"\n"),
    ("/run/secrets/two_lines", b"canary-one\ncanary-two\n"),
    ("/run/secrets/binary", b"canary\xff"),
    ("/etc/ssl/proxy.pem", b"-----BEGIN CERTIFICATE-----"),
    ("/etc/ssl/internal.pem", b"-----BEGIN CERTIFICATE-----"),
    ("/etc/ssl/admin.pem", b"-----BEGIN CERTIFICATE-----"),
    ("/etc/ssl/admin.key", b"-----BEGIN PRIVATE KEY-----"),
];

#[test]
fn valid_files_load_with_the_warnings_that_they_announce() {
    let mismatches = fixtures("valid").into_iter().filter_map(|(path, text)| match load_file(&text) {
        Ok(loaded) => mismatch(&path, &announced(&text, "# warns: "), &loaded.warnings),
        Err(problems) => Some(format!("{}: {problems}", path.display())),
    });
    assert_eq!(mismatches.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn invalid_files_say_everything_that_is_wrong_and_nothing_else() {
    let mismatches = fixtures("invalid").into_iter().filter_map(|(path, text)| match load_file(&text) {
        Ok(_) => Some(format!("{}: it loads", path.display())),
        Err(problems) => mismatch(&path, &announced(&text, "# expect: "), &problems.problems),
    });
    assert_eq!(mismatches.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn the_example_loads() {
    let text = std::fs::read_to_string(repository("deploy/zoomhook.toml")).expect("the example");
    let variables = VARIABLES.into_iter().chain([("ZOOM_WEBHOOK_SECRET_TOKEN", "canary-token")]);
    let loaded = load(&sources(Some(&text), variables, Flags::default()), Purpose::Run).expect("right");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn every_default_that_the_example_shows_is_the_default() {
    let text = std::fs::read_to_string(repository("deploy/zoomhook.toml")).expect("the example");
    let examples = [
        "# exclude =",
        "# ca_file =",
        "# proxy_credentials =",
        "# zoom_ca_file =",
        "# allow =",
        "# destinations_ca_file =",
        "# token =",
        "# viewer_token =",
        "# next_secret_token =",
        "# switch_at =",
        "# on_refused =",
        "# headers =",
        "# standard_webhooks_secret =",
        "# rate =",
        "# ttl =",
        "# max_attempts =",
        "# max_age =",
        "# audit_retention =",
        "# encryption_key =",
        "# old_encryption_keys =",
        "# tls_",
        "# client_ca_file =",
        "# client_",
    ];
    let is_default = |line: &str| {
        let key = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")).map_or("", |(key, _)| key);
        !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !examples.iter().any(|example| line.starts_with(example))
    };
    let spelled: Vec<_> =
        text.lines().map(|line| if is_default(line) { line.trim_start_matches("# ") } else { line }).collect();
    let variables = || VARIABLES.into_iter().chain([("ZOOM_WEBHOOK_SECRET_TOKEN", "canary-token")]);
    let with = |text: &str| {
        let mut sources = sources(Some(text), variables(), Flags::default());
        sources.log_format = LogFormat::Json;
        show(&load(&sources, Purpose::Run).expect("right").config)
    };
    assert!(spelled.len() == text.lines().count() && spelled.contains(&"grace = \"15s\""));
    assert_eq!(with(&spelled.join("\n")), with(&text));
}

#[test]
fn what_is_shown_loads_to_the_same_configuration() {
    for (path, text) in fixtures("valid") {
        let config = load_file(&text).expect("a valid file").config;
        let shown = show(&config);
        let again = load_file(&shown).unwrap_or_else(|problems| panic!("{}: {problems}\n{shown}", path.display()));
        assert_eq!(show(&again.config), shown, "{}", path.display());
        assert_eq!(egress(&again.config), egress(&config), "{}", path.display());
        let delays = |config: &Config| config.destinations.iter().map(|it| it.retry.clone()).collect::<Vec<_>>();
        assert_eq!(delays(&again.config), delays(&config));
    }
}

#[test]
fn environment_says_the_proxy_of_zoom_unless_a_key_does() {
    let text = std::fs::read_to_string(repository("fixtures/config/valid/minimal.toml")).expect("a fixture");
    let environment = |more: &[(&'static str, &'static str)]| {
        let variables = VARIABLES.into_iter().chain(more.iter().copied());
        load(&sources(Some(&text), variables, Flags::default()), Purpose::Run)
    };
    let through = |more: &[(&'static str, &'static str)]| {
        let config = environment(more).expect("right").config;
        assert!(config.destinations.iter().all(|it| it.outbound == Outbound::DIRECT), "handlers are inside");
        config.subscriptions[0].outbound.proxy_for(&config.subscriptions[0].url).map(ToString::to_string)
    };
    let (http, socks) = ("http://user:canary@proxy:3128", "socks5h://proxy:1080");
    assert_eq!(through(&[]), None);
    assert_eq!(through(&[("ALL_PROXY", socks)]).as_deref(), Some(socks));
    assert_eq!(through(&[("ALL_PROXY", socks), ("https_proxy", http)]).as_deref(), Some("http://proxy:3128"));
    assert_eq!(through(&[("HTTPS_PROXY", http), ("NO_PROXY", "internal, zoom.us")]), None);
    assert_eq!(through(&[("HTTP_PROXY", http)]), None, "nothing that is plain leaves this machine");

    let problems = environment(&[("HTTPS_PROXY", "https://user:canary@proxy:1")]).expect_err("an encrypted proxy");
    let told = problems.to_string();
    assert!(told.contains("HTTPS_PROXY: the way to a proxy") && !told.contains("canary"), "{told}");
    let warnings = environment(&[("NO_PROXY", "a:1")]).expect("right").warnings;
    assert!(warnings[0].path == "NO_PROXY" && warnings[0].message.contains("\"a:1\""), "{warnings:?}");
}

#[test]
fn egress_names_proxies_and_what_is_reached_through_them() {
    let text = std::fs::read_to_string(repository("fixtures/config/valid/proxies.toml")).expect("a fixture");
    let config = load_file(&text).expect("right").config;
    let places: Vec<_> = egress(&config).into_iter().map(|it| (it.host, it.port, it.through)).collect();
    let through = |proxy: &str| Some(proxy.to_owned());
    let expected = [
        ("audit.internal", 443, None),
        ("crm.internal", 443, through("socks5h://[fd00::1]:1080")),
        ("fd00::1", 1080, None),
        ("proxy.internal", 3128, None),
        ("ws.zoom.us", 443, through("http://proxy.internal:3128")),
        ("zoom.us", 443, through("http://proxy.internal:3128")),
    ];
    assert_eq!(places, expected.map(|(host, port, through)| (host.to_owned(), port, through)));
}

#[test]
fn secrets_are_in_nothing_that_is_shown() {
    let files = [fixtures("valid"), fixtures("invalid")].concat();
    assert!(files.iter().filter(|(_, text)| text.contains(CANARY)).count() >= 5);
    for (path, text) in files {
        let seen = match load_file(&text) {
            Ok(loaded) => format!("{loaded:?} {} {:?}", show(&loaded.config), egress(&loaded.config)),
            Err(problems) => format!("{problems} {problems:?}"),
        };
        assert!(!seen.contains(CANARY), "{}: {seen}", path.display());
    }
}

#[test]
fn query_of_a_handler_is_in_nothing_that_is_shown() {
    let url = "https://crm.internal/hook?code=canary".to_owned();
    let loaded = environment_alone(ZOOM, Flags { to: vec![url], ..Flags::default() }).expect("right");
    assert_eq!(loaded.config.destinations[0].url.query(), Some("code=canary"));
    let seen = format!("{loaded:?} {} {:?}", show(&loaded.config), egress(&loaded.config));
    assert!(!seen.contains(CANARY), "{seen}");
}

const ZOOM: &[(&str, &str)] = &[
    ("ZOOM_ACCOUNT_ID", "account"),
    ("ZOOM_CLIENT_ID", "client"),
    ("ZOOM_CLIENT_SECRET", "canary-client-secret"),
    ("ZOOM_SUBSCRIPTION_ID", "subscription"),
    ("ZOOM_WEBHOOK_SECRET_TOKEN", "canary-token"),
];

#[cfg(not(feature = "otel"))]
#[test]
fn build_that_sends_no_traces_says_so_where_some_are_asked_for() {
    let text = "[traces]\nendpoint = 'http://127.0.0.1:4318'\nsampel = '10%'\n";
    let problems = load_file(text).expect_err("refused").to_string();
    assert!(
        problems.contains("traces (line 1): this build sends no traces: take the section out, or build"),
        "{problems}"
    );
    assert!(problems.contains("did you mean sample?"), "{problems}");
}

#[test]
fn environment_alone_is_a_whole_configuration() {
    let loaded = environment_alone(ZOOM, to(&["http://localhost:3000/webhook"])).expect("right");
    assert!(loaded.warnings.is_empty());
    let Config { subscriptions, destinations, tls, allow, spool, admin, log, traces, grace } = loaded.config;
    assert_eq!(allow, allow::AllowList::default());
    assert_eq!(tls, tls::TlsDefaults::NONE);
    assert_eq!(traces, None);
    let subscription = Subscription {
        name: "main".into(),
        url: Url::parse("wss://ws.zoom.us/ws?subscriptionId=subscription").expect("a URL"),
        id: "subscription".into(),
        token_url: Url::parse("https://zoom.us/oauth/token").expect("a URL"),
        grant: Grant::Auto,
        account_id: Some("account".into()),
        client_id: "client".into(),
        client_secret: Secret::new("canary-client-secret"),
        group: "main".into(),
        ca_file: None,
        tls: tls::TlsRules::DEFAULT,
        outbound: Outbound { way: proxy::Way::Environment { proxy: None, no_proxy: Vec::new() }, no_proxy: Vec::new() },
    };
    assert_eq!(subscriptions, [subscription]);
    let url = Url::parse("http://localhost:3000/webhook").expect("a URL");
    let destination = Destination::new("localhost-3000", url, Secret::new("canary-token"));
    assert_eq!(destinations, [destination]);
    assert_eq!(spool.path, Path::new(Spool::PATH));
    assert_eq!(admin, Admin::new(Some(Listen::Tcp(([127, 0, 0, 1], 8686).into()))));
    assert_eq!((log, grace), (Log { format: LogFormat::Text, level: Log::LEVEL }, Config::GRACE));
}

#[test]
fn environment_alone_names_every_variable_that_is_missing() {
    let problems = environment_alone(&[], to(&["http://localhost:1/", "http://localhost:2/"])).expect_err("empty");
    let said: Vec<_> = problems.problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        said,
        [
            "ZOOM_SUBSCRIPTION_ID: not set: the subscription id, or the whole URL as Zoom shows it",
            "ZOOM_CLIENT_ID: not set: the client id of the app",
            "ZOOM_CLIENT_SECRET: not set: the client secret of the app",
            "ZOOM_WEBHOOK_SECRET_TOKEN: not set: the secret token that signs requests",
        ]
    );
    assert_eq!(problems.origin, "the environment (no zoomhook.toml here)");
}

#[test]
fn environment_takes_pasted_url_other_token_endpoint_and_the_older_secret_name() {
    let variables = [
        ("ZOOM_SUBSCRIPTION_ID", "wss://ws.example.gov/ws?access_token=canary&subscriptionId=a%2Fb&x=1"),
        ("ZOOM_TOKEN_URL", "https://example.gov/oauth/token"),
        ("ZOOM_CLIENT_ID", "client\n"),
        ("ZOOM_CLIENT_SECRET", "canary-client-secret"),
        ("ZOOM_WEBHOOK_SECRET", "canary-older"),
    ];
    let loaded = environment_alone(&variables, to(&["https://crm.internal/"])).expect("right");
    let subscription = &loaded.config.subscriptions[0];
    assert_eq!(subscription.url.as_str(), "wss://ws.example.gov/ws?subscriptionId=a%2Fb&x=1");
    assert_eq!((&*subscription.id, &*subscription.client_id), ("a/b", "client"));
    assert_eq!(subscription.token_url.as_str(), "https://example.gov/oauth/token");
    assert_eq!(subscription.account_id, None);
    assert_eq!(loaded.config.destinations[0].secret_token, Secret::new("canary-older"));
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert_eq!(warning.path, "ZOOM_SUBSCRIPTION_ID");
}

#[test]
fn to_adds_destinations_to_a_file_under_names_of_their_own() {
    let text = fixture("valid/minimal.toml").replace("\"crm\"", "\"crm-internal\"");
    let variables = VARIABLES.into_iter().chain([("ZOOM_WEBHOOK_SECRET_TOKEN", "canary-to")]);
    let flags = to(&["https://crm.internal/a", "https://crm.internal/b", "http://localhost:3000/"]);
    let config = load(&sources(Some(&text), variables, flags), Purpose::Run).expect("right").config;
    let names: Vec<_> = config.destinations.iter().map(|destination| &*destination.name).collect();
    assert_eq!(names, ["crm-internal", "crm-internal-2", "crm-internal-3", "localhost-3000"]);
    assert_eq!(config.destinations[1].secret_token, Secret::new("canary-to"));
}

#[test]
fn a_wrong_to_is_told_by_its_number_and_not_repeated() {
    let flags = to(&["http://localhost:3000/", "localhost:canary", "https://u:canary@h/"]);
    let problems = environment_alone(ZOOM, flags).expect_err("wrong");
    let paths: Vec<_> = problems.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["--to, number 2", "--to, number 3"]);
    assert!(!problems.to_string().contains(CANARY), "{problems}");
}

#[test]
fn flag_goes_before_variable_before_file_before_default() {
    const FILE: &str =
        "[spool]\npath = 'file'\n[admin]\nlisten = '127.0.0.1:1'\n[log]\nlevel = 'warn'\nformat = 'json'\n";
    let variables = [
        ("ZOOMHOOK_SPOOL", "variable"),
        ("ZOOMHOOK_LISTEN", "[::1]:2"),
        ("ZOOMHOOK_LOG_LEVEL", "debug"),
        ("ZOOMHOOK_LOG_FORMAT", "text"),
    ];
    let text = |text: &str| Some(text.to_owned());
    let flags = Flags {
        spool: text("flag"),
        listen: text("off"),
        log_level: text("trace"),
        log_format: text("json"),
        ..Flags::default()
    };
    let table = [
        (None, &[][..], Flags::default(), (Spool::PATH, Some(Admin::LISTEN), "info", "text")),
        (Some(FILE), &[][..], Flags::default(), ("file", Some("127.0.0.1:1"), "warn", "json")),
        (Some(FILE), &variables[..], Flags::default(), ("variable", Some("[::1]:2"), "debug", "text")),
        (Some(FILE), &variables[..], flags, ("flag", None, "trace", "json")),
    ];
    for (file, variables, flags, (path, listen, level, format)) in table {
        let sources = sources(file, variables.iter().copied(), flags);
        let config = load(&sources, Purpose::Operate).expect("right").config;
        assert_eq!(config.spool.path, Path::new(path));
        assert_eq!(config.admin.listen.map(|address| address.to_string()).as_deref(), listen);
        assert_eq!(config.log.level.to_string(), level);
        assert!(LogFormat::WORDS.contains(&(format, config.log.format)), "{format}");
    }
}

#[test]
fn a_wrong_flag_or_variable_is_named() {
    let flags = Flags { listen: Some("nowhere".to_owned()), ..Flags::default() };
    let sources = sources(None, [("ZOOMHOOK_LOG_LEVEL", "loud")], flags);
    let problems = load(&sources, Purpose::Operate).expect_err("wrong");
    let paths: Vec<_> = problems.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["--listen", "ZOOMHOOK_LOG_LEVEL"]);
}

#[test]
fn an_open_admin_port_can_have_its_token_from_the_environment_alone() {
    let open = [("ZOOMHOOK_LISTEN", "0.0.0.0:8686"), ("ZOOMHOOK_ADMIN_TOKEN", "canary-admin")];
    let load = |variables: &[(&'static str, &'static str)]| {
        load(&sources(None, variables.iter().copied(), Flags::default()), Purpose::Operate)
    };
    assert!(load(&open[..1]).is_err());
    let admin = load(&open).expect("right").config.admin;
    assert_eq!(admin.token, Some(Secret::new("canary-admin")));
}

#[test]
fn looking_after_a_spool_needs_no_secret_of_any_subscription_or_destination() {
    let text = fixture("valid/minimal.toml");
    let none: [(&str, &str); 0] = [];
    assert!(load(&sources(Some(&text), none, Flags::default()), Purpose::Run).is_err());
    let loaded = load(&sources(Some(&text), none, Flags::default()), Purpose::Operate).expect("right");
    assert!(loaded.config.subscriptions.is_empty() && loaded.config.destinations.is_empty());
    assert!(load(&sources(None, none, Flags::default()), Purpose::Operate).is_ok());
}

#[test]
fn every_place_that_may_be_contacted_is_listed_once() {
    let config = load_file(&fixture("valid/twins.toml")).expect("right").config;
    let row = |host: &str, purpose: &str| Egress {
        host: host.to_owned(),
        port: 443,
        purpose: purpose.to_owned(),
        through: None,
    };
    assert_eq!(
        egress(&config),
        [
            row("audit.internal", "destination audit"),
            row("crm.internal", "destination crm"),
            row("ws.zoom.us", "socket of subscription east-1, socket of subscription east-2"),
            row("zoom.us", "tokens of subscription east-1, tokens of subscription east-2"),
        ]
    );
    let config = load_file(&fixture("valid/authorization.toml")).expect("right").config;
    assert!(egress(&config).contains(&row("login.internal", "tokens of destination oauth")), "{:?}", egress(&config));
}

#[test]
fn values_of_headers_are_shown_only_where_they_stand_in_the_file() {
    let config = load_file(&fixture("valid/authorization.toml")).expect("right").config;
    let shown = show(&config);
    for line in ["x-tenant = \"7\"", "x-api-key = \"***\"", "password = \"***\"", "bearer = \"***\"", "tenant=***"] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_loading_panic(text: String) {
        let _ = load_file(&text);
    }

    /// Lines of the fixtures in a wild order reach further into the rules than noise does.
    #[test]
    fn no_medley_of_lines_makes_loading_panic(picks in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8), 0..24)) {
        let files = [fixtures("valid"), fixtures("invalid")].concat();
        let lines: Vec<&str> = files.iter().flat_map(|(_, text)| text.lines()).collect();
        let mut medley = String::new();
        for (pick, change) in picks {
            let line = pick.get(&lines);
            medley.push_str(match change {
                0 => line.get(..line.len() / 2).unwrap_or(line),
                _ => line,
            });
            medley.push('\n');
        }
        let seen = match load_file(&medley) {
            Ok(loaded) => format!("{loaded:?}{}", show(&loaded.config)),
            Err(problems) => problems.to_string(),
        };
        prop_assert!(!seen.is_empty());
    }

    #[test]
    fn no_environment_file_makes_reading_panic(text in "([A-Z]{1,3}=['\"$\\\\{}a-z #]{0,6}\n?|\\PC{0,8}\n){0,8}") {
        let _ = Environment::default().add_file(&text);
    }
}

/// Tells what differs between the problems that a file announces and those that were found.
fn mismatch(path: &Path, expected: &[&str], found: &[Problem]) -> Option<String> {
    let found: Vec<_> = found.iter().map(Problem::to_string).collect();
    let missing = expected.iter().find(|text| !found.iter().any(|problem| problem.contains(**text)));
    let extra = found.iter().find(|problem| !expected.iter().any(|text| problem.contains(text)));
    let same = missing.is_none() && extra.is_none() && expected.len() == found.len();
    (!same).then(|| format!("{}: missing {missing:?}, extra {extra:?}, found {found:#?}", path.display()))
}

fn announced<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(mark)).collect()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(repository("fixtures/config").join(name)).expect("a fixture")
}

fn fixtures(folder: &str) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(repository("fixtures/config").join(folder)).expect("fixtures");
    let read = entries.map(|entry| {
        let path = entry.expect("a fixture").path();
        let text = std::fs::read_to_string(&path).expect("a fixture");
        (path, text)
    });
    let sorted: BTreeMap<_, _> = read.collect();
    assert!(sorted.len() >= 10, "fixtures are missing");
    sorted.into_iter().collect()
}

fn to(urls: &[&str]) -> Flags {
    Flags { to: urls.iter().map(|url| (*url).to_owned()).collect(), ..Flags::default() }
}

fn load_file(text: &str) -> Result<Loaded, Problems> {
    load(&sources(Some(text), VARIABLES, Flags::default()), Purpose::Run)
}

fn environment_alone(variables: &[(&'static str, &'static str)], flags: Flags) -> Result<Loaded, Problems> {
    load(&sources(None, variables.iter().copied(), flags), Purpose::Run)
}

fn sources<I>(file: Option<&str>, variables: I, flags: Flags) -> Sources<'static>
where
    I: IntoIterator<Item = (&'static str, &'static str)>,
{
    Sources {
        file: file.map(|text| File { path: "zoomhook.toml".into(), text: text.to_owned() }),
        environment: variables.into_iter().collect(),
        flags,
        log_format: LogFormat::Text,
        read: &read,
        fetch: &fetched,
    }
}

fn fetched(stored: &Stored, _: &Environment) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = match stored {
        Stored::File(path) => path.clone(),
        Stored::Credential(name) => Path::new("/run/credentials/zoomhook.service").join(name),
        Stored::Command(program) => PathBuf::from(program.line.join(" ")),
    };
    match read(&path) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(format!("the file {} cannot be read: {error}", path.display())),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = FILES.iter().find(|(name, _)| Path::new(name) == path);
    file.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
}
