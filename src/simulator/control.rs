//! The control endpoints: `/_control/...` steers a running simulator, in plain text even where the rest is encrypted.

use axum::Json;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Simulator;
use super::fault::{Cut, Faults};
use super::log::Account;
use super::server::BODY;

pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/_control/faults", get(faults).post(set_faults))
        .route("/_control/drop", post(drop_sockets))
        .route("/_control/events", post(push).layer(DefaultBodyLimit::max(BODY)))
        .route("/_control/rate", post(set_rate))
        .route("/_control/log", get(log))
}

async fn faults(State(zoom): State<Simulator>) -> Json<Faults> {
    Json(zoom.faults())
}

/// Replaces every fault by those of a list such as `["token-hang"]`; `[]` switches all off.
async fn set_faults(State(zoom): State<Simulator>, faults: Result<Json<Faults>, JsonRejection>) -> Response {
    match faults {
        Ok(Json(faults)) => {
            zoom.set_faults(faults);
            Json(zoom.faults()).into_response()
        }
        Err(rejection) => refuse(&rejection),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drop {
    #[serde(default)]
    r#as: Cut,
    subscription: Option<String>,
}

/// Ends live sockets: `{"as": "1012"}`, a close code, `fin`, `reset` or `silent`; `subscription` names whose.
async fn drop_sockets(State(zoom): State<Simulator>, drop: Result<Json<Drop>, JsonRejection>) -> Response {
    match drop {
        Ok(Json(Drop { r#as, subscription })) => {
            let dropped = match subscription {
                Some(subscription) => zoom.drop_sockets_of(&subscription, r#as),
                None => zoom.drop_sockets(r#as),
            };
            Json(json!({"dropped": dropped})).into_response()
        }
        Err(rejection) => refuse(&rejection),
    }
}

/// Sends the request body as an event, byte for byte.
async fn push(State(zoom): State<Simulator>, body: String) -> Json<Value> {
    Json(json!({"sockets": zoom.push(&body).await}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    rate: f64,
}

/// Changes the rate of the events that come by themselves: `{"rate": 50}`.
async fn set_rate(State(zoom): State<Simulator>, rate: Result<Json<Rate>, JsonRejection>) -> Response {
    match rate {
        Ok(Json(Rate { rate })) if rate >= 0.0 => {
            zoom.set_rate(rate);
            Json(json!({"rate": rate})).into_response()
        }
        Ok(Json(_)) => bad("rate: expected a number of events per second, at least 0"),
        Err(rejection) => refuse(&rejection),
    }
}

/// Tells whoever speaks plain text to an encrypted simulator what else is open.
pub(super) async fn plain_text() -> Response {
    bad("this port speaks TLS: use https and wss; in plain text it answers /_control alone")
}

/// Tells what clients did: counted, added up by subscription, and one by one.
async fn log(State(zoom): State<Simulator>) -> Json<Value> {
    let (entries, _) = zoom.log(0);
    let Account { requests, subscriptions, .. } = zoom.account();
    Json(json!({
        "counts": zoom.counts(),
        "requests": requests,
        "subscriptions": subscriptions,
        "entries": entries,
    }))
}

fn refuse(rejection: &JsonRejection) -> Response {
    bad(&rejection.body_text())
}

fn bad(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response()
}
