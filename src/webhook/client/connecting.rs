//! Finds out whether a request went over a connection that was there before it.
//!
//! The one thing that the connector is told of a request is its URL. But the client connects within the task of the
//! request, and only when no idle connection is at hand: what that task remembers ties the two together.

use std::cell::Cell;
use std::task::{Context, Poll};

use tower::Service;

tokio::task_local! {
    static CONNECTING: Cell<bool>;
}

/// Tells what a request came to, and over what kind of connection.
pub(super) struct Sent<T> {
    pub(super) outcome: T,
    /// False when it may have been the first one over its connection.
    pub(super) over_kept_connection: bool,
}

/// Waits for a request, and notes whether it began to connect.
pub(super) async fn watch<F: Future>(request: F) -> Sent<F::Output> {
    let noting = async {
        let outcome = request.await;
        Sent { outcome, over_kept_connection: !CONNECTING.with(Cell::get) }
    };
    CONNECTING.scope(Cell::new(false), noting).await
}

/// Is a connector that tells the task of the request that it was called.
#[derive(Clone)]
pub(super) struct Connector<S>(pub(super) S);

impl<S: Service<R>, R> Service<R> for Connector<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: R) -> S::Future {
        // Nobody asks about requests that are not watched.
        let _ = CONNECTING.try_with(|connecting| connecting.set(true));
        self.0.call(address)
    }
}
