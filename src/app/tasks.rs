//! The long-lived tasks, each under a name: whoever ends without being asked is noticed.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// Holds the running tasks.
pub(super) struct Tasks {
    set: JoinSet<()>,
    running: HashMap<Id, Running>,
    cut: CancellationToken,
}

struct Running {
    name: String,
    /// Once this is cancelled, the task's end is expected.
    stop: CancellationToken,
    /// Cancelled when the task has ended.
    ended: CancellationToken,
}

impl Tasks {
    /// Makes room for tasks that all end at once when `cut` is cancelled.
    pub(super) fn new(cut: CancellationToken) -> Self {
        Self { set: JoinSet::new(), running: HashMap::new(), cut }
    }

    /// Returns the token that cuts everything short.
    pub(super) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Starts a task; the token that is returned is cancelled when it has ended, in whatever way.
    pub(super) fn spawn<F>(&mut self, name: impl Into<String>, stop: CancellationToken, task: F) -> CancellationToken
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let handle = self.set.spawn(async move {
            let _guard = guard;
            task.await;
        });
        self.running.insert(handle.id(), Running { name: name.into(), stop, ended: ended.clone() });
        ended
    }

    /// Waits until a task ends that was not asked to, and returns its name.
    pub(super) async fn ended_early(&mut self) -> String {
        loop {
            let Some(joined) = self.set.join_next_with_id().await else { return std::future::pending().await };
            let (id, panicked) = match joined {
                Ok((id, ())) => (id, false),
                Err(error) => (error.id(), error.is_panic()),
            };
            let Some(Running { name, stop, .. }) = self.running.remove(&id) else { continue };
            if panicked || !stop.is_cancelled() {
                return name;
            }
        }
    }

    /// Waits until every task whose name begins so has ended.
    pub(super) async fn join_matching(&mut self, prefix: &str) {
        let ends: Vec<CancellationToken> = self
            .running
            .values()
            .filter(|running| running.name.starts_with(prefix))
            .map(|running| running.ended.clone())
            .collect();
        for ended in ends {
            ended.cancelled().await;
        }
    }

    /// Waits until every task has ended.
    pub(super) async fn join_all(&mut self) {
        while self.set.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_ends_unasked_is_named() {
        let mut tasks = Tasks::new(CancellationToken::new());
        let stop = CancellationToken::new();
        tasks.spawn("stays", stop.clone(), std::future::pending());
        tasks.spawn("leaves", stop.clone(), async {});
        assert_eq!(tasks.ended_early().await, "leaves");
    }

    #[tokio::test]
    async fn panic_is_never_expected() {
        let mut tasks = Tasks::new(CancellationToken::new());
        let stop = CancellationToken::new();
        stop.cancel();
        tasks.spawn("asked", stop.clone(), async {});
        tasks.spawn("broken", stop, async { panic!("on purpose") });
        assert_eq!(tasks.ended_early().await, "broken");
    }

    #[tokio::test]
    async fn joining_waits_for_those_of_a_name_alone() {
        let mut tasks = Tasks::new(CancellationToken::new());
        let (stop, gate) = (CancellationToken::new(), CancellationToken::new());
        tasks.spawn("lane crm", stop.clone(), gate.clone().cancelled_owned());
        tasks.spawn("socket main", stop, std::future::pending());
        gate.cancel();
        tasks.join_matching("lane").await;
    }
}
