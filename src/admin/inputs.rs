//! The parameters of every list, read as a request has them, for the fuzzer.

use axum::extract::FromRequestParts;
use futures_util::FutureExt as _;
use http::{Request, Uri};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::audit::AuditParams;
use super::caller::Role;
use super::dead::{DeadParams, GroupParams};
use super::document::PAGE_MOST;
use super::events::EventParams;
use super::gaps::GapParams;
use super::input::{Params, limit};

/// Reads the query of a URI as each list does; panics where more is taken than a page may hold.
pub(crate) fn read_every_query(uri: Uri) {
    let now = Timestamp::UNIX_EPOCH;
    let limits = [
        params::<EventParams>(&uri).and_then(|params| params.query(now, Role::Viewer).ok()).map(|query| query.limit),
        params::<DeadParams>(&uri).and_then(|params| params.query(now).ok()).map(|query| query.limit),
        params::<GroupParams>(&uri).and_then(|params| params.query(now).ok()).map(|query| query.limit),
        params::<AuditParams>(&uri).and_then(|params| limit(params.limit).ok()),
        params::<GapParams>(&uri).and_then(|params| limit(params.limit).ok()),
    ];
    for limit in limits.into_iter().flatten() {
        assert!((1..=PAGE_MOST).contains(&limit), "a page of {limit}");
    }
}

fn params<T: DeserializeOwned>(uri: &Uri) -> Option<T> {
    let (mut parts, ()) = Request::get(uri.clone()).body(()).ok()?.into_parts();
    let read = Params::<T>::from_request_parts(&mut parts, &()).now_or_never();
    let Params(params) = read.expect("a query is read at once").ok()?;
    Some(params)
}
