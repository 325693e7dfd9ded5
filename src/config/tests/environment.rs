//! What flags and variables say, with a file and without one.

use super::*;

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
fn form_of_the_log_is_known_of_a_configuration_that_is_wrong() {
    let format = |file: Option<&str>, variables: &[(&'static str, &'static str)], flag: Option<&str>| {
        let flags = Flags { log_format: flag.map(str::to_owned), ..Flags::default() };
        load(&sources(file, variables.iter().copied(), flags), Purpose::Run).expect_err("wrong").log_format
    };
    const JSON: [(&str, &str); 1] = [("ZOOMHOOK_LOG_FORMAT", "json")];
    let cases = [
        (Some("[log]\nformat = \"json\"\nlevel = \"loud\""), &[][..], None, LogFormat::Json),
        (Some("[log]\nformat = \"json\"\ncolour = 1"), &[][..], None, LogFormat::Json),
        (Some("[log]\nformat = \"xml\""), &[][..], None, LogFormat::Text),
        (Some("[spool]\nformat = \"json\""), &[][..], None, LogFormat::Text),
        (Some("[log"), &[][..], None, LogFormat::Text),
        (Some("[log"), &JSON[..], None, LogFormat::Json),
        (Some("[log"), &JSON[..], Some("text"), LogFormat::Text),
        (Some("[log"), &[][..], Some("json"), LogFormat::Json),
        (None, &JSON[..], None, LogFormat::Json),
    ];
    for (file, variables, flag, expected) in cases {
        assert_eq!(format(file, variables, flag), expected, "{file:?} {variables:?} {flag:?}");
    }
}
