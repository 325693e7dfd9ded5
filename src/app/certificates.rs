//! How long the certificates are good that are in use: a metric, and a warning when the end comes near.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::telemetry::metrics::{Certificate, Metrics};
use crate::tls::certificate::RENEW;
use crate::tls::inventory::{InUse, Used, expires_at};
use crate::wording::span;

/// How often the files are looked at: whoever renews a certificate does so days before its end.
const CHECK: Duration = Duration::from_secs(60);
/// How often the same certificate is warned of.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// Whose certificates are looked at whatever a reload says: what serves and what sends traces is that of the start.
const OF_THE_START: [Certificate; 2] = [Certificate::Admin, Certificate::Collector];

/// Looks after the certificates that are in use until `stop`: reads the files, and warns of each whose end comes near.
pub(super) async fn watch(
    mut certificates: watch::Receiver<InUse>,
    metrics: Arc<Metrics>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut checks = interval(CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut warned) = (InUse::default(), HashMap::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = checks.tick() => {}
            // Whoever sends goes with the program.
            Ok(()) = certificates.changed() => {}
        }
        let in_use = certificates.borrow_and_update().clone();
        for gone in before.files.iter().filter(|known| !in_use.files.contains(known)) {
            metrics.certificate_expiry.remove(&of_file(gone));
        }
        for gone in before.peers.iter().filter(|known| !in_use.peers.contains(known)) {
            metrics.certificate_expiry.get_or_create(gone).forget();
        }
        before.clone_from(&in_use);
        let InUse { files, peers } = in_use;
        let read = tokio::task::spawn_blocking(|| files.into_iter().map(|it| (expires_at(&it.file), it)).collect());
        let read: Vec<(Option<Timestamp>, Used)> = read.await.unwrap_or_default();
        for (expires_at, used) in read {
            // What cannot be read is not in use: the one before is.
            let Some(expires_at) = expires_at else { continue };
            metrics.certificate_expiry.get_or_create(&of_file(&used)).set(expires_at);
            warn(&of_file(&used), expires_at, clock.now(), &mut warned);
        }
        for peer in peers.iter().chain(&OF_THE_START) {
            if let Some(expires_at) = metrics.certificate_expiry.get_or_create_owned(peer).get() {
                warn(peer, expires_at, clock.now(), &mut warned);
            }
        }
    }
}

fn warn(
    certificate: &Certificate,
    expires_at: Timestamp,
    now: Timestamp,
    warned: &mut HashMap<Certificate, Timestamp>,
) {
    let left = expires_at.duration_since(now);
    let again = warned.get(certificate).is_none_or(|before| now.duration_since(*before) >= AGAIN);
    if left >= RENEW || !again {
        return;
    }
    warned.insert(certificate.clone(), now);
    let (side, owner) = certificate.labels();
    let of = |label| owner.and_then(|(name, value)| (name == label).then_some(value));
    let (file, subscription, destination) = (of("file"), of("subscription"), of("destination"));
    let cure = match certificate {
        Certificate::Admin => {
            "without a good one nobody can ask for the status: put one into the file of admin.tls_cert"
        }
        Certificate::File { .. } => "put a new one into the file",
        Certificate::Socket(_)
        | Certificate::SocketToken(_)
        | Certificate::Handler(_)
        | Certificate::HandlerToken(_)
        | Certificate::Collector => "have it renewed by whoever runs that side",
    };
    if left.is_negative() {
        tracing::error!(
            side, file, subscription.name = subscription, destination.name = destination, %expires_at,
            "{certificate} has expired: {cure}"
        );
    } else {
        let left = span(left);
        tracing::warn!(
            side, file, subscription.name = subscription, destination.name = destination, %expires_at,
            "{certificate} expires in {left}: {cure}"
        );
    }
}

fn of_file(used: &Used) -> Certificate {
    Certificate::File { side: used.side, file: used.file.display().to_string() }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expiry_is_shown_as_long_as_a_file_or_a_peer_is_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, year| {
            let mut params = CertificateParams::new(["a".to_owned()]).expect("a name");
            params.not_after = date_time_ymd(year, 5, 1);
            let made = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
            let file = folder.path().join(name);
            std::fs::write(&file, made.pem()).expect("written");
            Used { side: "destinations", file }
        };
        let (first, second) = (write("first", 2031), write("second", 2032));
        let in_use = |files: &[&Used], peers: &[Certificate]| InUse {
            files: files.iter().map(|it| (*it).clone()).collect(),
            peers: peers.to_vec(),
        };
        let peer = Certificate::SocketToken("main".to_owned());
        let (files, watched) = watch::channel(in_use(&[&first, &second], std::slice::from_ref(&peer)));
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        metrics.certificate_expiry.get_or_create(&peer).set(Timestamp::UNIX_EPOCH);
        let watching = tokio::spawn(watch(watched, Arc::clone(&metrics), Clock::system(), stop.clone()));
        let page = || metrics.render().expect("a page");
        let until = async |so: &dyn Fn(&str) -> bool| {
            while !so(&page()) {
                tokio::time::sleep(CHECK).await;
            }
        };
        until(&|page| page.contains("/first\"} 1935") && page.contains("/second\"} 1966")).await;
        write("first", 2032);
        until(&|page| page.contains("/first\"} 1966")).await;
        std::fs::write(&first.file, "nothing").expect("written");
        until(&|page| page.contains("{side=\"token\",subscription=\"main\"} 0\n")).await;
        files.send_replace(in_use(&[&first], &[]));
        until(&|page| page.contains("/first\"} 1966") && !page.contains("/second\"}") && !page.contains("token")).await;
        stop.cancel();
        watching.await.expect("no panic");
    }

    #[test]
    fn end_that_comes_near_is_warned_of_once_a_day() {
        let used = Certificate::File { side: "zoom", file: "ca.pem".to_owned() };
        let mut warned = HashMap::new();
        let now: Timestamp = "2026-07-29T12:00:00Z".parse().expect("an instant");
        let days = |days: i64| SignedDuration::from_hours(days * 24);
        warn(&used, now + days(15), now, &mut warned);
        assert!(warned.is_empty());
        warn(&used, now + days(13), now, &mut warned);
        assert_eq!(warned.get(&used), Some(&now));
        warn(&used, now + days(13), now + SignedDuration::from_hours(1), &mut warned);
        assert_eq!(warned.get(&used), Some(&now));
        warn(&used, now + days(13), now + days(1), &mut warned);
        assert_eq!(warned.get(&used), Some(&(now + days(1))));
    }
}
