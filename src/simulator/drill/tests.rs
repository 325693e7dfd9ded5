use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::simulator::log::Happening;

/// The longest fixture lasts minutes; so many times faster the sweep lasts seconds.
const FASTER: u32 = 50;

fn fixtures() -> Vec<(PathBuf, Drill)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/drills");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let drills = paths.filter(|path| path.extension().is_some_and(|end| end == "toml")).map(|path| {
        let drill = Drill::parse(&fs::read_to_string(&path).unwrap());
        let drill = drill.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, drill)
    });
    drills.collect()
}

/// Makes a drill faster; what its faults and expectations say stays.
fn faster(mut drill: Drill) -> Drill {
    drill.duration /= FASTER;
    drill.steps.iter_mut().for_each(|step| step.at /= FASTER);
    drill
}

/// Plays a drill against a client that connects again after every end.
async fn play(drill: &Drill) -> (Report, Vec<Step>, Vec<Happening>) {
    let mut options = Options::default();
    drill.prepare(&mut options);
    let zoom = Simulator::bind(options).await.unwrap();
    let token = CancellationToken::new();
    let mut told = Vec::new();
    let report = tokio::select! {
        report = drill.play(&zoom, &token, |step| told.push(step.clone())) => report,
        () = zoom.run(CancellationToken::new()) => panic!("the simulator ended"),
        () = client(&zoom) => panic!("the client ended"),
    };
    let (entries, _) = zoom.log(0);
    (report, told, entries.into_iter().map(|entry| entry.what).collect())
}

async fn client(zoom: &Simulator) {
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(crate::tls::client_config(None).unwrap())
        .no_proxy()
        .build()
        .unwrap();
    let subscription = &zoom.options().subscriptions[0];
    loop {
        // The pace of a client that is in no hurry; nothing waits for it.
        let _ = timeout(Duration::from_millis(200), session(zoom, &http, subscription)).await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// Does what a client does, for as long as all goes well.
async fn session(zoom: &Simulator, http: &reqwest::Client, subscription: &str) -> Option<()> {
    let form = [("grant_type", "client_credentials")];
    let asked = http.post(zoom.token_url()).basic_auth("demo-client", Some("demo-secret")).form(&form);
    let answer: serde_json::Value = asked.send().await.ok()?.json().await.ok()?;
    let url = format!("{}&access_token={}", zoom.ws_url(subscription), answer["access_token"].as_str()?);
    let stream = TcpStream::connect(zoom.addr()).await.ok()?;
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
    socket.send(Message::text(r#"{"module":"heartbeat"}"#)).await.ok()?;
    while socket.next().await?.is_ok() {}
    Some(())
}

#[tokio::test]
async fn every_fixture_plays_to_its_end() {
    let drills = fixtures();
    assert!(drills.len() >= 8, "{}", drills.len());
    let mut plays = JoinSet::new();
    for (path, drill) in drills {
        assert_eq!(path.file_stem().unwrap().to_str(), Some(&*drill.name));
        assert!(!drill.about.is_empty() && drill.expect != Expect::default(), "{} proves nothing", drill.name);
        plays.spawn(sweep(faster(drill)));
    }
    plays.join_all().await;
}

async fn sweep(drill: Drill) {
    let (report, told, happened) = play(&drill).await;
    assert_eq!(report.ending, Ending::Complete, "{}", drill.name);
    assert_eq!(told, drill.steps, "{}", drill.name);
    assert!(report.lasted >= drill.duration && !report.verdicts.is_empty(), "{}", drill.name);
    let actions = drill.steps.iter().flat_map(|step| &step.actions);
    let planned = actions.filter_map(|action| match action {
        Action::Faults(faults) => Some(faults.texts()),
        Action::Drop(..) | Action::Rate(_) | Action::Send(_) | Action::Event(_) => None,
    });
    let logged =
        happened.into_iter().filter_map(|what| if let Happening::Faults { on } = what { Some(on) } else { None });
    assert_eq!(logged.collect::<Vec<_>>(), planned.collect::<Vec<_>>(), "{}", drill.name);
}

#[tokio::test]
async fn steps_do_what_they_say_and_the_report_tells_it() {
    let text = r#"
name = "n"
about = "a"
duration = "600ms"
[[step]]
at = "200ms"
drop = "reset"
[[step]]
at = "550ms"
send = 300
event = '{"event":"own"}'
[expect]
reconnected_within = "350ms"
sockets = 3
sent_at_least = 301
"#;
    let (report, ..) = play(&Drill::parse(text).unwrap()).await;
    assert!(report.counts.accepted >= 2, "{report:?}");
    assert!(report.counts.sent + report.counts.missed >= 301, "{report:?}");
    assert_eq!(report.verdicts.len(), 3);
}

#[tokio::test]
async fn drill_without_a_client_waits_until_it_is_interrupted() {
    let drill = Drill::parse("name = 'n'\nabout = 'a'\nduration = '1ms'\n[expect]\nsockets = 0").unwrap();
    let zoom = Simulator::bind(Options::default()).await.unwrap();
    let token = CancellationToken::new();
    token.cancel();
    let report = drill.play(&zoom, &token, |_| panic!("no step")).await;
    assert!(report.ending == Ending::Interrupted && !report.passed(), "{report:?}");
}
