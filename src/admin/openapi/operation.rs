//! One thing that can be asked, as the table has it.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;

use super::shape::{Described, Shape};
use crate::admin::problem::Code;
use crate::admin::{Port, auth};

/// Says whether the gate asks who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Access {
    /// Anybody may ask.
    Open,
    /// Whoever may get in.
    Guarded,
}

/// Is one thing that can be asked: what the router does with it, and what the document says of it.
pub(in crate::admin) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// Names it for programs: clients call their functions so.
    pub(super) name: &'static str,
    /// Says what it does, in a few words.
    pub(super) summary: &'static str,
    /// What the handler refuses beside what its arguments refuse.
    pub(super) refusals: &'static [Code],
    pub(super) access: Access,
    /// Tells what the handler takes and answers.
    pub(super) describe: fn(&mut Shape<'_>),
    handler: MethodRouter<Port>,
}

impl Operation {
    /// Adds what the handler refuses, beside what its arguments refuse.
    pub(in crate::admin) fn refuses(self, refusals: &'static [Code]) -> Self {
        Self { refusals, ..self }
    }

    /// Returns the group that it is shown in: the first part of its path that says something.
    pub(super) fn tag(&self) -> &'static str {
        let path = self.path.strip_prefix("/api/v1").unwrap_or("/health");
        path.split('/').nth(1).unwrap_or_default()
    }
}

/// Makes what can be asked by one method: `GET` looks at something, `POST` asks for a change, `PUT` sets something.
pub(in crate::admin) fn ask<H, A, T>(
    method: Method,
    path: &'static str,
    handler: H,
    name: &'static str,
    summary: &'static str,
) -> Operation
where
    H: Handler<T, Port> + Described<A>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("routes are asked by methods that axum knows");
    let access = if auth::is_open(path) { Access::Open } else { Access::Guarded };
    let (describe, handler) = (<H as Described<A>>::describe, on(filter, handler));
    Operation { method, path, name, summary, refusals: &[], access, describe, handler }
}

/// Makes the router of these operations.
pub(in crate::admin) fn router(operations: Vec<Operation>) -> Router<Port> {
    let add = |router: Router<Port>, operation: Operation| router.route(operation.path, operation.handler);
    operations.into_iter().fold(Router::new(), add)
}
