//! The limit of file descriptors: raised as far as the system lets us, and looked at once against what is configured.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// No more than this is asked for: programs that are started for secrets inherit the limit, and some walk through all.
const ENOUGH: u64 = 1 << 20;
/// What everything beside deliveries takes: spool, sockets, the seats of the admin port, and the program's own.
const BESIDE: u64 = 64;

/// Raises the soft limit of file descriptors to the hard one, and warns where that is little for the configuration.
pub fn raise(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = raised(&limit);
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::debug!(%error, "the limit of file descriptors stays as it is");
            limit.current
        }
    };
    let wanted = wanted(config.destinations.iter().map(|destination| destination.concurrency));
    if let Some(current) = current.filter(|current| *current < wanted) {
        tracing::warn!(
            "no more than {current} file descriptors can be open at once, and all destinations at work take {wanted}: \
             deliveries may have to wait for each other. Set LimitNOFILE={wanted} in the service, or ulimit -n {wanted}, \
             or lower `concurrency`"
        );
    }
}

fn raised(limit: &Rlimit) -> Rlimit {
    let target = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    Rlimit { current: limit.current.map(|current| current.max(target)), maximum: limit.maximum }
}

/// Returns how many may be open at once when each destination has as many requests in flight as it may.
fn wanted(concurrency: impl Iterator<Item = usize>) -> u64 {
    concurrency.fold(BESIDE, |sum, concurrency| sum.saturating_add(concurrency as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_is_raised_to_the_hard_one_and_never_lowered() {
        // `None` is without a limit.
        let cases = [
            ((Some(1024), Some(65_536)), Some(65_536)),
            ((Some(64), Some(64)), Some(64)),
            ((Some(1024), None), Some(ENOUGH)),
            ((Some(1024), Some(1 << 30)), Some(ENOUGH)),
            ((Some(1 << 30), Some(1 << 30)), Some(1 << 30)),
            ((None, None), None),
        ];
        for ((current, maximum), expected) in cases {
            let raised = raised(&Rlimit { current, maximum });
            assert_eq!((raised.current, raised.maximum), (expected, maximum), "{current:?} of {maximum:?}");
        }
    }

    #[test]
    fn every_slot_takes_one_beside_the_rest() {
        let cases: [(&[usize], u64); 3] = [(&[], 64), (&[16], 80), (&[64, 64, 1024], 1216)];
        for (concurrency, expected) in cases {
            assert_eq!(wanted(concurrency.iter().copied()), expected);
        }
        assert_eq!(wanted([usize::MAX; 2].into_iter()), u64::MAX);
    }
}
