//! What is shown of a configuration, and where it may connect to.

use super::*;

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
