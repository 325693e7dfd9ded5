//! Real proxies: tinyproxy, microsocks and squid, each on a free port of this machine.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// Is what proxies are shown that want credentials; the lab looks for the password in all that a bridge writes.
pub(crate) const USER: &str = "bridge";
pub(crate) const PASSWORD: &str = "canary-client-secret";

/// Is a host that squid lets nobody through to.
pub(crate) const FORBIDDEN: &str = "forbidden.example";

/// Says which proxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// tinyproxy: HTTP.
    Tiny,
    /// squid: HTTP, and it says what went wrong.
    Squid,
    /// microsocks: SOCKS 5.
    Micro,
}

/// Says whom a proxy serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Those who show [`USER`] and [`PASSWORD`].
    Guarded,
}

/// Is a running proxy; it ends with the value.
pub(crate) struct RealProxy {
    child: Child,
    folder: TempDir,
    pub(crate) port: u16,
}

impl RealProxy {
    /// Starts one. Where it is not installed, the test that calls is skipped with a word, and fails where `CI` is set.
    pub(crate) async fn start(kind: Kind, access: Access) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        Self::start_at(kind, access, port).await
    }

    /// Does so on this port, and waits until it takes connections.
    pub(crate) async fn start_at(kind: Kind, access: Access, port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a directory");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = command(kind, access, port, folder.path());
        command.env_clear().stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound && std::env::var_os("CI").is_none() => {
                eprintln!("skipped: {kind:?} cannot be started: {error}");
                return None;
            }
            Err(error) => panic!("{kind:?} cannot be started: {error}"),
        };
        let mut proxy = Self { child, folder, port };
        // None of them says in one way that it is ready; the test runner ends a test that never gets there.
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(proxy.child.try_wait().expect("a child").is_none(), "{}", proxy.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Some(proxy)
    }

    /// Returns what it has written.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).expect("readable")).into_owned()
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

impl Drop for RealProxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(kind: Kind, access: Access, port: u16, folder: &Path) -> Command {
    let file = folder.join("proxy.conf");
    let settings = match kind {
        Kind::Tiny => {
            let credentials =
                if access == Access::Guarded { format!("BasicAuth {USER} {PASSWORD}\n") } else { String::new() };
            format!("Port {port}\nListen 127.0.0.1\nTimeout 600\nLogLevel Connect\n{credentials}")
        }
        Kind::Squid => format!(
            "http_port 127.0.0.1:{port}\nacl no dstdomain {FORBIDDEN}\nhttp_access deny no\nhttp_access allow all\n\
             pid_filename none\naccess_log none\ncache_log /dev/null\ncache deny all\nshutdown_lifetime 0 seconds\n\
             pinger_enable off\n"
        ),
        Kind::Micro => String::new(),
    };
    fs::write(&file, settings).expect("written");
    match kind {
        Kind::Tiny => {
            let mut command = Command::new("tinyproxy");
            command.arg("-d").arg("-c").arg(file);
            command
        }
        Kind::Squid => {
            // It is where no ordinary user looks for programs.
            let mut command = Command::new("/usr/sbin/squid");
            command.arg("-N").arg("-f").arg(file);
            command
        }
        Kind::Micro => {
            let mut command = Command::new("microsocks");
            command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
            if access == Access::Guarded {
                command.args(["-u", USER, "-P", PASSWORD]);
            }
            command
        }
    }
}
