//! Finds out whether a request went over a connection that was there before it, and how far it came with a new one.
//!
//! The one thing that the connector is told of a request is its URL. But the client connects within the task of the
//! request, and only when no idle connection is at hand: what that task remembers ties the two together.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::Service;

tokio::task_local! {
    static CONNECTION: Cell<Connection>;
}

/// Says over what kind of connection a request went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Connection {
    /// One that was there before it.
    Kept,
    /// One that was being made, through a proxy and with TLS where they belong to it.
    Begun,
    /// One that was made for it.
    New,
}

/// Tells what a request came to, and over what.
pub(super) struct Sent<T> {
    pub(super) outcome: T,
    pub(super) connection: Connection,
}

/// Waits for a request, and notes how it came by its connection.
pub(super) async fn watch<F: Future>(request: F) -> Sent<F::Output> {
    let noting = async {
        let outcome = request.await;
        Sent { outcome, connection: CONNECTION.with(Cell::get) }
    };
    CONNECTION.scope(Cell::new(Connection::Kept), noting).await
}

/// Nobody asks about requests that are not watched.
fn note(connection: Connection) {
    let _ = CONNECTION.try_with(|noted| noted.set(connection));
}

/// Is a connector that tells the task of the request what it does.
#[derive(Clone)]
pub(super) struct Connector<S>(pub(super) S);

impl<S, R> Service<R> for Connector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: R) -> Self::Future {
        note(Connection::Begun);
        let connecting = self.0.call(address);
        Box::pin(async move {
            let connected = connecting.await;
            if connected.is_ok() {
                note(Connection::New);
            }
            connected
        })
    }
}
