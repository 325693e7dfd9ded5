//! The control endpoints: `/_control/...` steers a running simulator.

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
use super::server::BODY;

pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/_control/faults", get(faults).post(set_faults))
        .route("/_control/drop", post(drop_sockets))
        .route("/_control/events", post(push).layer(DefaultBodyLimit::max(BODY)))
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
}

/// Ends every live socket: `{"as": "1012"}`, a close code, `reset` or `silent`.
async fn drop_sockets(State(zoom): State<Simulator>, drop: Result<Json<Drop>, JsonRejection>) -> Response {
    match drop {
        Ok(Json(drop)) => Json(json!({"dropped": zoom.drop_sockets(drop.r#as)})).into_response(),
        Err(rejection) => refuse(&rejection),
    }
}

/// Sends the request body as an event, byte for byte.
async fn push(State(zoom): State<Simulator>, body: String) -> Json<Value> {
    Json(json!({"sockets": zoom.push(&body).await}))
}

async fn log(State(zoom): State<Simulator>) -> Json<Value> {
    let (entries, _) = zoom.log(0);
    Json(json!({"counts": zoom.counts(), "entries": entries}))
}

fn refuse(rejection: &JsonRejection) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": rejection.body_text()}))).into_response()
}
