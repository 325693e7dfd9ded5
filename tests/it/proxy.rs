//! Proxies between the bridge and Zoom, and between the bridge and its handlers.

use std::fs;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use zoomhook::simulator::{Options, Transport};

use crate::front::{Clients, Front};
use crate::lab::{Bridge, Lab, body};
use crate::proxies::{Access, FORBIDDEN, Kind, PASSWORD, RealProxy, USER};

#[tokio::test]
async fn tokens_socket_and_deliveries_go_through_an_http_proxy_and_a_socks_proxy() {
    for (kind, scheme, access) in [
        (Kind::Tiny, "http", Access::Open),
        (Kind::Tiny, "http", Access::Guarded),
        (Kind::Squid, "http", Access::Open),
        (Kind::Micro, "socks5", Access::Open),
        (Kind::Micro, "socks5h", Access::Guarded),
    ] {
        let Some(proxy) = RealProxy::start(kind, access).await else { return };
        let mut lab = encrypted().await;
        let front = Front::before(&lab, Clients::Anybody).await;
        let lines = proxy_lines(&proxy.url(scheme), access);
        lab.subscription_lines.push_str(&lines);
        front.configure(&mut lab, &lines);
        let bridge = front.bridge(&lab).await;
        bridge.until_ready().await;
        lab.zoom.push(&body(1)).await;
        lab.handler("crm").has_taken(1).await;
        let (_, metrics) = bridge.get("/metrics").await;
        assert!(!metrics.contains("zoomhook_proxy_failures_total{"), "{metrics}");
        if kind != Kind::Squid {
            // squid keeps no log that it did not have to open as another user.
            let log = proxy.log();
            for target in [lab.zoom.addr().to_string(), front.address()] {
                assert!(log.contains(&target), "{kind:?} has not seen {target}: {log}");
            }
        }
        bridge.stop().await;
    }
}

#[tokio::test]
async fn environment_decides_for_zoom_and_not_for_handlers() {
    let Some(proxy) = RealProxy::start(Kind::Tiny, Access::Guarded).await else { return };
    let mut lab = encrypted().await;
    let front = Front::before(&lab, Clients::Anybody).await;
    front.configure(&mut lab, "");
    front.write(&lab);
    let mut command = lab.command(&["run"]);
    command.env("HTTPS_PROXY", format!("http://{USER}:{PASSWORD}@127.0.0.1:{}", proxy.port));
    let bridge = Bridge::start(command).await;
    bridge.until_ready().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let log = proxy.log();
    assert!(log.contains(&lab.zoom.addr().to_string()), "{log}");
    assert!(!log.contains(&front.address()), "{log}");
    bridge.stop().await;

    // What the environment excepts is excepted.
    let seen = proxy.log().len();
    let mut command = lab.command(&["run"]);
    command.env("ALL_PROXY", format!("http://127.0.0.1:{}", proxy.port)).env("NO_PROXY", "127.0.0.0/8");
    let bridge = Bridge::start(command).await;
    bridge.until_ready().await;
    assert!(!proxy.log()[seen..].contains("CONNECT 127"), "{}", proxy.log());
    bridge.stop().await;
}

#[tokio::test]
async fn proxy_that_wants_credentials_is_named_in_status_and_metric() {
    for (kind, scheme) in [(Kind::Tiny, "http"), (Kind::Micro, "socks5h")] {
        let Some(proxy) = RealProxy::start(kind, Access::Guarded).await else { return };
        let mut lab = encrypted().await;
        lab.subscription_lines.push_str(&proxy_lines(&proxy.url(scheme), Access::Open));
        let bridge = lab.bridge().await;
        let named = |text: &str| text.contains("the proxy 127.0.0.1:") && text.contains("set proxy_credentials");
        bridge.until("/api/v1/status", |_, text| named(text)).await;
        bridge.until("/metrics", |_, text| text.contains("outcome=\"proxy\"")).await;
        let (_, metrics) = bridge.get("/metrics").await;
        assert!(metrics.contains("zoomhook_token_fetches_total{subscription=\"main\",outcome=\"proxy\"}"), "{metrics}");
        let failures = "zoomhook_proxy_failures_total{subscription=\"main\",reason=\"credentials\"}";
        bridge.until("/metrics", |_, text| text.contains(failures)).await;
        assert_eq!(lab.zoom.counts().token_requests, 0);
        bridge.stop().await;
    }
}

#[tokio::test]
async fn failures_of_a_proxy_are_told_apart_from_those_behind_it() {
    let Some(proxy) = RealProxy::start(Kind::Squid, Access::Open).await else { return };
    let closed = {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        free.local_addr().expect("bound").to_string()
    };
    let unreachable = format!("http://{closed}");
    let cases = [
        (proxy.url("http"), format!("https://{closed}/"), "proxy cannot connect", "target"),
        (proxy.url("http"), "https://nowhere.invalid/".to_owned(), "name does not resolve at the proxy", "name"),
        (proxy.url("http"), format!("https://{FORBIDDEN}/"), "proxy does not let it through", "denied"),
        (unreachable, "https://crm.invalid/".to_owned(), "proxy cannot be reached", "unreachable"),
    ];
    for (proxy, url, cause, reason) in cases {
        let mut lab = Lab::new(&["crm"]).await;
        lab.destination_lines = proxy_lines(&proxy, Access::Open);
        lab.write_configuration(&["crm"]);
        let text = fs::read_to_string(lab.file()).expect("written").replace(&lab.handler("crm").url(), &url);
        fs::write(lab.file(), text).expect("written");
        let bridge = Bridge::start(lab.command(&["run"])).await;
        bridge.until_ready().await;
        lab.zoom.push(&body(1)).await;
        bridge.until("/api/v1/status", |_, text| text.contains(cause)).await;
        let failures = format!("zoomhook_proxy_failures_total{{destination=\"crm\",reason=\"{reason}\"}}");
        bridge.until("/metrics", |_, text| text.contains(&failures)).await;
        bridge.stop().await;
    }
}

#[tokio::test]
async fn event_waits_while_the_proxy_is_gone_and_goes_out_when_it_is_back() {
    let Some(proxy) = RealProxy::start(Kind::Tiny, Access::Open).await else { return };
    let mut lab = encrypted().await;
    let front = Front::before(&lab, Clients::Anybody).await;
    front.configure(&mut lab, &proxy_lines(&proxy.url("http"), Access::Open));
    let bridge = front.bridge(&lab).await;
    bridge.until_ready().await;
    let port = proxy.port;
    drop(proxy);
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/status", |_, text| text.contains("proxy cannot be reached")).await;
    lab.assert_nothing_forgotten();
    assert_eq!(lab.handler("crm").requests(), 0);
    let _proxy = RealProxy::start_at(Kind::Tiny, Access::Open, port).await.expect("it was there before");
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
}

#[tokio::test]
async fn event_behind_a_hostile_proxy_costs_bounded_memory_and_goes_out_when_the_proxy_is_good() {
    let flood = |head: &str, piece: &[u8]| Some((head.as_bytes().to_vec(), piece.repeat(256)));
    let answers = [
        ("proxy gives no proper answer", flood("HTTP/1.1 200 OK\r\nx-more: ", b"and more of it")),
        ("proxy refuses the credentials", flood("HTTP/1.1 407 No\r\n\r\n", b"<html>")),
        ("tls failed", flood("HTTP/1.1 200 OK\r\n\r\n", b"a body of gigabytes")),
        ("proxy does not let it through", flood("HTTP/1.1 302 Found\r\nlocation: /login\r\n\r\n", b"<html>")),
    ];
    let (say, answer) = watch::channel(answers[0].1.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(hostile(stream, answer.borrow().clone()));
        }
    });
    let mut lab = encrypted().await;
    let front = Front::before(&lab, Clients::Anybody).await;
    front.configure(&mut lab, &proxy_lines(&url, Access::Open));
    let bridge = front.bridge(&lab).await;
    bridge.until_ready().await;
    let before = bridge.peak_bytes();
    for (number, (cause, answer)) in answers.iter().enumerate() {
        say.send_replace(answer.clone());
        lab.zoom.push(&body(number)).await;
        bridge.until("/api/v1/status", |_, text| text.contains(cause)).await;
    }
    let grown = bridge.peak_bytes() - before;
    assert!(grown < (24 << 20), "{grown} bytes more");
    assert_eq!(lab.handler("crm").requests(), 0);
    lab.assert_nothing_forgotten();
    say.send_replace(None);
    lab.handler("crm").has_taken(answers.len()).await;
    bridge.stop().await;
}

/// Answers a connection with a head and what never ends, or is a good proxy.
async fn hostile(mut stream: TcpStream, answer: Option<(Vec<u8>, Vec<u8>)>) {
    let mut request = [0; 1024];
    let read = stream.read(&mut request).await.unwrap_or_default();
    let Some((head, piece)) = answer else {
        let text = String::from_utf8_lossy(&request[..read]).into_owned();
        let target = text.split_whitespace().nth(1).expect("a target").to_owned();
        let mut far = TcpStream::connect(target).await.expect("the front");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("it reads");
        tokio::io::copy_bidirectional(&mut stream, &mut far).await.ok();
        return;
    };
    let mut next = &head;
    while stream.write_all(next).await.is_ok() {
        next = &piece;
    }
}

async fn encrypted() -> Lab {
    let mut lab = Lab::with(&["crm"], Options { transport: Transport::Tls, ..Options::default() }).await;
    let ca_file = lab.directory.path().join("zoom.pem");
    fs::write(&ca_file, lab.zoom.authority().expect("it is encrypted")).expect("written");
    lab.subscription_lines = format!("ca_file = {ca_file:?}\n");
    lab
}

/// Writes the keys of a proxy; the password is one that the lab's commands have in their environment.
fn proxy_lines(url: &str, access: Access) -> String {
    let credentials =
        if access == Access::Guarded { format!("proxy_credentials = \"{USER}:{PASSWORD}\"\n") } else { String::new() };
    format!("proxy = \"{url}\"\n{credentials}")
}
