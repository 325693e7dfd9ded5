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
use crate::tls::inventory::{Used, expires_at};
use crate::wording::span;

/// How often the files are looked at: whoever renews a certificate does so days before its end.
const CHECK: Duration = Duration::from_secs(60);
/// A certificate that ends within this time is warned of: renewals take people some days.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How often the same certificate is warned of.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// Looks after the files that are in use until `stop`.
pub(super) async fn watch(
    mut files: watch::Receiver<Vec<Used>>,
    metrics: Arc<Metrics>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut checks = interval(CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut shown, mut warned) = (Vec::new(), HashMap::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = checks.tick() => {}
            // Whoever sends goes with the program.
            Ok(()) = files.changed() => {}
        }
        let used = files.borrow_and_update().clone();
        for gone in shown.iter().filter(|known| !used.contains(known)) {
            metrics.certificate_expiry.remove(&labels(gone));
        }
        shown.clone_from(&used);
        let read = tokio::task::spawn_blocking(|| used.into_iter().map(|it| (expires_at(&it.file), it)).collect());
        let read: Vec<(Option<Timestamp>, Used)> = read.await.unwrap_or_default();
        for (expires_at, used) in read {
            // What cannot be read is not in use: the one before is.
            let Some(expires_at) = expires_at else { continue };
            metrics.certificate_expiry.get_or_create(&labels(&used)).set(expires_at);
            warn(&used, expires_at, clock.now(), &mut warned);
        }
    }
}

fn warn(used: &Used, expires_at: Timestamp, now: Timestamp, warned: &mut HashMap<Used, Timestamp>) {
    let left = expires_at.duration_since(now);
    let again = warned.get(used).is_none_or(|before| now.duration_since(*before) >= AGAIN);
    if left >= SOON || !again {
        return;
    }
    warned.insert(used.clone(), now);
    let (file, side) = (used.file.display(), used.side);
    if left.is_negative() {
        tracing::error!(%file, side, %expires_at, "a certificate has expired: put a new one into the file");
    } else {
        let left = span(left);
        tracing::warn!(%file, side, %expires_at, "a certificate expires in {left}: put a new one into the file");
    }
}

fn labels(used: &Used) -> Certificate {
    Certificate::File { side: used.side, file: used.file.display().to_string() }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expiry_of_every_file_is_shown_and_goes_with_the_file() {
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
        let (files, watched) = watch::channel(vec![first.clone(), second.clone()]);
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
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
        files.send_replace(vec![first]);
        until(&|page| page.contains("/first\"} 1966") && !page.contains("/second\"}")).await;
        stop.cancel();
        watching.await.expect("no panic");
    }

    #[test]
    fn end_that_comes_near_is_warned_of_once_a_day() {
        let used = Used { side: "zoom", file: "ca.pem".into() };
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
