//! Everybody that a bridge can have to do with, each at a name and an address of its own, and a machine that knows these
//! names and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use tokio::process::Command;
use zoomhook::simulator::Options;

use super::resolver::NameServer;
use crate::front::Front;
use crate::lab::Lab;
use crate::port::Authority;
use crate::prometheus::missing;
use crate::proxies::{Access, Kind, RealProxy};

/// The one that is reached directly, and the one that is reached through a proxy.
pub(super) const SUBSCRIPTIONS: [&str; 2] = ["straight", "around"];
/// A name server that gives no answer.
const SILENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 53, 53)), 53);
/// What the machine of the bridge reads names from; what it has of them is replaced for the bridge alone.
const FILES: [&str; 3] = ["hosts", "nsswitch.conf", "resolv.conf"];

/// Says how the machine of the bridge knows names.
pub(super) enum Resolver {
    /// From a server that counts what it is asked for.
    Counting(NameServer),
    /// From a file, where this user may not listen at the port of name servers. Nobody listens at [`SILENT`].
    File,
}

impl Resolver {
    /// Returns where names are asked for that are in no file.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Counting(server) => server.address,
            Self::File => SILENT,
        }
    }
}

/// Is everybody that a bridge can have to do with.
pub(super) struct Estate {
    pub(super) lab: Lab,
    /// What is connected to: hosts and ports.
    pub(super) direct: BTreeSet<String>,
    /// What proxies are asked for: their URLs, and hosts and ports.
    pub(super) through: BTreeSet<(String, String)>,
    /// The addresses of names.
    names: BTreeMap<String, String>,
    /// Whom the machine of the bridge asks for names.
    pub(super) resolver: Resolver,
    authority: Authority,
    tiny: RealProxy,
    micro: RealProxy,
    fronts: Vec<Front>,
}

impl Estate {
    /// Starts all of them, and writes the configuration. Where the proxies are not installed, the test that calls is skipped
    /// with a word, and fails where `CI` is set.
    pub(super) async fn build(collector: Option<SocketAddr>) -> Option<Self> {
        let tiny = RealProxy::start(Kind::Tiny, Access::Open).await?;
        let micro = RealProxy::start(Kind::Micro, Access::Open).await?;
        let subscriptions = SUBSCRIPTIONS.map(Into::into).to_vec();
        let handlers = ["straight", "around", "resolved", "plain"];
        let lab = Lab::with(&handlers, Options { subscriptions, ..Options::default() }).await;
        let mut estate = Self {
            lab,
            direct: BTreeSet::new(),
            through: BTreeSet::new(),
            names: BTreeMap::new(),
            resolver: Resolver::File,
            authority: Authority::new(),
            tiny,
            micro,
            fronts: Vec::new(),
        };
        estate.configure(collector).await;
        estate.make_names_known().await;
        Some(estate)
    }

    async fn configure(&mut self, collector: Option<SocketAddr>) {
        let ca_file = self.lab.directory.path().join("house.pem");
        fs::write(&ca_file, self.authority.0.pem()).expect("written");
        let (http, socks5h, socks5) = (
            format!("http://{}", self.alias("http-proxy.example", self.tiny.port)),
            format!("socks5h://{}", self.alias("socks-proxy.example", self.micro.port)),
            format!("socks5://socks-proxy.example:{}", self.micro.port),
        );
        let zoom = self.lab.zoom.token_url().to_string();
        let url = |name: &str| self.lab.handler(name).url();
        let (straight, around, resolved, plain) = (url("straight"), url("around"), url("resolved"), url("plain"));

        let mut text = format!(
            "[spool]\npath = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"LAB_ADMIN_TOKEN\" }}\n\
             [log]\nlevel = \"trace\"\nformat = \"json\"\n\
             [tls]\nzoom_ca_file = {ca_file:?}\ndestinations_ca_file = {ca_file:?}\n",
            self.lab.spool()
        );
        for (name, hosts, proxy) in [
            ("straight", ["socket.example", "token.example"], None),
            // What a proxy resolves has no name here.
            ("around", ["localhost", "localhost"], Some(&http)),
        ] {
            let socket = self.front(hosts[0], &zoom, proxy).await;
            let token = self.front(hosts[1], &zoom, proxy).await;
            text += &format!(
                "[[subscription]]\nname = \"{name}\"\ngroup = \"main\"\nurl = \"wss://{socket}/ws?subscriptionId={name}\"\n\
                 token_url = \"https://{token}/oauth/token\"\naccount_id = \"demo-account\"\n\
                 client_id = \"demo-client\"\nclient_secret = {{ env = \"LAB_CLIENT_SECRET\" }}\n{}",
                line(proxy)
            );
        }
        for (name, handler, hosts, proxy) in [
            ("straight", &straight, ["crm.example", "login.example"], None),
            ("around", &around, ["localhost", "localhost"], Some(&socks5h)),
            ("resolved", &resolved, ["archive.example", "archive-login.example"], Some(&socks5)),
        ] {
            let (place, token) = (self.front(hosts[0], handler, proxy).await, self.front(hosts[1], &zoom, proxy).await);
            text += &format!(
                "[[destination]]\nname = \"{name}\"\nurl = \"https://{place}/webhook\"\n{}{}\
                 auth = {{ oauth = {{ token_url = \"https://{token}/oauth/token\", client_id = \"demo-client\", \
                 client_secret = {{ env = \"LAB_CLIENT_SECRET\" }} }} }}\n",
                SECRET_TOKEN,
                line(proxy)
            );
        }
        text += &format!("[[destination]]\nname = \"plain\"\nurl = \"{plain}\"\n{SECRET_TOKEN}");
        self.direct.insert(plain.trim_start_matches("http://").trim_end_matches("/webhook").to_owned());
        if let Some(collector) = collector {
            let place = self.front("traces.example", &format!("http://{collector}"), None).await;
            text += &format!(
                "[traces]\nendpoint = \"https://{place}\"\nca_file = {ca_file:?}\n\
                 headers = {{ x-key = {{ env = \"LAB_SECRET_TOKEN\" }} }}\n"
            );
        }
        fs::write(self.lab.file(), text).expect("written");
    }

    /// Gives an address of this machine to a name, and returns the name with the port.
    fn alias(&mut self, name: &str, port: u16) -> String {
        self.names.insert(name.to_owned(), "127.0.0.1".to_owned());
        let place = format!("{name}:{port}");
        self.direct.insert(place.clone());
        place
    }

    /// Starts an encrypted front of what is at the URL, and returns its name with its port.
    async fn front(&mut self, name: &str, url: &str, proxy: Option<&String>) -> String {
        let ip = match name {
            "localhost" => "127.0.0.1".to_owned(),
            _ => {
                let ip = format!("127.0.1.{}", self.names.len() + 1);
                self.names.insert(name.to_owned(), ip.clone());
                ip
            }
        };
        let front = Front::named(&ip, self.authority.identity(name, 365), url).await;
        let place = format!("{name}:{}", front.port());
        self.fronts.push(front);
        match proxy {
            None => self.direct.insert(place.clone()),
            Some(proxy) => self.through.insert((proxy.clone(), place.clone())),
        };
        place
    }

    /// Writes the files that the machine of the bridge reads names from, or learns where to ask for them.
    async fn make_names_known(&mut self) {
        let mut hosts = String::new();
        match NameServer::start(self.names.clone()).await {
            Ok(server) => self.resolver = Resolver::Counting(server),
            Err(error) => {
                eprintln!("skipped: nobody counts the names that are asked for: port 53: {error}");
                hosts = self.names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
            }
        }
        // Without a domain of this machine's own, a name is asked for as it is.
        let server = format!("search .\nnameserver {}\n", self.resolver.address().ip());
        let texts = [hosts, "hosts: files dns\n".to_owned(), server];
        for (file, text) in FILES.into_iter().zip(texts) {
            fs::write(self.lab.directory.path().join(file), text).expect("written");
        }
    }

    /// Returns the address of a place that is given by its name.
    pub(super) fn address(&self, place: &str) -> String {
        let (name, port) = place.rsplit_once(':').expect("a port");
        format!("{}:{port}", self.names.get(name).map_or(name, String::as_str))
    }

    /// Tells whether a proxy was asked for this place, and let it through.
    pub(super) fn has_passed(&self, proxy: &str, place: &str) -> bool {
        match proxy.split_once("://").expect("a URL").0 {
            "http" => self.tiny.log().contains(&format!("CONNECT {place} ")),
            "socks5h" => self.micro.log().contains(&format!("connected to {place}\n")),
            _ => self.micro.log().contains(&format!("connected to {}\n", self.address(place))),
        }
    }

    /// Runs the same command on a machine that knows these names alone, and writes down every connection that it opens.
    /// Where that cannot be done, the test that calls is skipped with a word, and fails where `CI` is set.
    pub(super) fn watched(&self, command: Command, calls: &Path) -> Option<Command> {
        if let Err(error) = std::process::Command::new("strace").arg("-V").output() {
            return missing("strace", &error);
        }
        let folder = self.lab.directory.path();
        let mut script = String::new();
        for file in FILES.into_iter().filter(|file| Path::new("/etc").join(file).exists()) {
            script += &format!("mount --bind {} /etc/{file} && ", folder.join(file).display());
        }
        // The bridge stays the child; whoever watches it is a process beside.
        script += "exec strace -D -f -q -e trace=connect,sendto,sendmsg,sendmmsg -e signal=none -o \"$0\" \"$@\"";
        let mut outer = Command::new("unshare");
        if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0) {
            outer.args(["--user", "--map-root-user"]);
        }
        outer.args(["--mount", "--propagation", "private", "--"]);
        let mut trial = std::process::Command::new("unshare");
        let tried = trial.args(outer.as_std().get_args()).arg("true").output();
        match tried {
            Ok(tried) if tried.status.success() => {}
            Ok(tried) => {
                let said = String::from_utf8_lossy(&tried.stderr).into_owned();
                return missing("unshare (of mounts)", &io::Error::other(said));
            }
            Err(error) => return missing("unshare", &error),
        }
        let inner = command.as_std();
        outer.args(["/bin/sh", "-c", &script]).arg(calls).arg(inner.get_program()).args(inner.get_args());
        outer.env_clear().kill_on_drop(true);
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Some(outer)
    }
}

/// How destinations of a lab sign.
const SECRET_TOKEN: &str = "secret_token = { env = \"LAB_SECRET_TOKEN\" }\n";

fn line(proxy: Option<&String>) -> String {
    proxy.map(|proxy| format!("proxy = \"{proxy}\"\n")).unwrap_or_default()
}
