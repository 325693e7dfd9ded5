//! `zoomhook demo`: a simulated Zoom, the bridge and a sample handler in one process, and what flows between them.

mod screen;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::screen::Screen;
use self::stage::Stage;
use super::number::number;
use super::options::after;
use crate::app::{App, Reread, Stop};
use crate::clock::Clock;
use crate::config::allow::AllowList;
use crate::config::levels::Levels;
use crate::config::proxy::Outbound;
use crate::config::tls::{TlsDefaults, TlsRules};
use crate::config::{Admin, Config, Destination, Grant, Listen, Log, LogFormat, Spool, Subscription};
use crate::simulator::handler::{self, Handler};
use crate::simulator::{self, Simulator};
use crate::spool::open_view;
use crate::tls::Roots;

/// Shows the bridge at work: a simulated Zoom, zoomhook and a sample handler, all on this machine.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = after(
    &["zoomhook demo", "zoomhook demo --rate 5 --seconds 30"],
    "0 done or ended by Ctrl-C, 1 it failed, 2 usage, 130 cut short by a second Ctrl-C",
))]
pub struct Args {
    /// Events per second
    #[arg(long, value_name = "N", default_value = "1", value_parser = rate)]
    rate: f64,
    /// End after so many seconds, with the faults earlier where these are few [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = number::<u64>)]
    seconds: Option<u64>,
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or("expected a number of events per second, such as 5 or 0.5")
}

/// Runs the demo until `token` is cancelled or its time is over.
///
/// # Errors
/// When a part cannot start or ends early, or standard output cannot be written.
pub async fn run(args: Args, token: CancellationToken) -> anyhow::Result<()> {
    let clock = Clock::system();
    let seed = clock.request_id().uuid().as_u128() as u64;
    let simulator = Simulator::bind(simulator::Options { seed, ..Default::default() }).await?;
    let handler = Handler::bind(handler::Options::default()).await?;
    let folder = Folder::create(&clock)?;
    let config = config(&simulator, &handler, folder.spool());
    let app = App::bind(config, &Roots::load(), None).await.context("cannot start the bridge")?;
    let console = app.admin_address();

    let (bridge_stop, others_stop) = (CancellationToken::new(), CancellationToken::new());
    let mut others = JoinSet::new();
    others.spawn({
        let (simulator, stop) = (simulator.clone(), others_stop.clone());
        async move { simulator.run(stop).await }
    });
    others.spawn({
        let (handler, stop) = (handler.clone(), others_stop.clone());
        async move { handler.run(stop).await }
    });
    let stop = Stop { gently: bridge_stop.clone(), now: CancellationToken::new() };
    let reread: Reread = Arc::new(|| Err(vec!["the demo has no configuration to read again".to_owned()]));
    let mut bridge = tokio::spawn(app.run(reread, stop));

    let mut screen = Screen::new(clock.instant());
    screen.banner(&simulator, &handler, &folder.spool(), console)?;
    let spool = open_view(&folder.spool()).context("cannot read the spool")?;
    let length = args.seconds.map(Duration::from_secs);
    let mut stage = Stage::new(simulator, handler, clock, seed, spool, length);
    let over = async {
        match length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        played = stage.play(args.rate, &mut screen) => played?,
        ended = &mut bridge => {
            ended.context("the bridge panicked")??;
            anyhow::bail!("the bridge ended by itself");
        }
        () = token.cancelled() => {}
        () = over => {}
    }
    stage.settle(&mut screen).await?;
    bridge_stop.cancel();
    bridge.await.context("the bridge panicked")??;
    others_stop.cancel();
    others.join_all().await;
    screen.summary(&stage.totals())?;
    Ok(())
}

/// Is what an operator would write, for this machine alone.
fn config(simulator: &Simulator, handler: &Handler, spool: PathBuf) -> Config {
    let zoom = simulator.options();
    let id = &zoom.subscriptions[0];
    Config {
        tls: TlsDefaults::NONE,
        allow: AllowList::default(),
        subscriptions: vec![Subscription {
            name: "demo".into(),
            url: simulator.ws_url(id),
            id: (&**id).into(),
            token_url: simulator.token_url(),
            grant: Grant::Auto,
            account_id: Some(zoom.account_id.as_str().into()),
            client_id: zoom.client_id.as_str().into(),
            client_secret: zoom.client_secret.clone(),
            group: "demo".into(),
            ca_file: None,
            tls: TlsRules::DEFAULT,
            outbound: Outbound::DIRECT,
        }],
        destinations: vec![Destination::new("handler", handler.url(), handler.secret().clone())],
        spool: Spool::new(spool),
        // A port of its own, so that it comes up beside a bridge that runs.
        admin: Admin::new(Some(Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))),
        log: Log { format: LogFormat::Text, level: Levels::all(tracing::Level::ERROR) },
        traces: None,
        grace: Config::GRACE,
    }
}

/// Is a folder of the demo's own, which goes when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn create(clock: &Clock) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("zoomhook-demo-{}", clock.request_id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn spool(&self) -> PathBuf {
        self.0.join("zoomhook.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from the temporary folder is the system's to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}
