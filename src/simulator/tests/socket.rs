use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::*;

#[tokio::test]
async fn event_arrives_as_an_escaped_string_and_is_counted() {
    let zoom = Zoom::start().await;
    let mut client = zoom.connect().await;
    assert_eq!(zoom.push(BODY).await, 1);
    let frame = client.json().await;
    assert_eq!(frame, json!({"module": "message", "content": BODY, "header": {}}));
    assert_eq!(zoom.wait_for(|counts| counts.sent == 1).await.missed, 0);
}

#[tokio::test]
async fn event_without_a_socket_is_missed() {
    let zoom = Zoom::start().await;
    assert_eq!((zoom.push(BODY).await, zoom.counts().missed), (0, 1));
}

#[tokio::test]
async fn refusals_come_in_the_first_frame_and_end_with_bye() {
    let zoom = Zoom::start().await;
    let token = zoom.token().await;
    for (subscription, token, wording) in [
        (SUBSCRIPTION, "", "token is empty"),
        (SUBSCRIPTION, "other", "Invalid Token"),
        ("other", token.as_str(), "Invalid subscriptionId"),
    ] {
        let mut client = zoom.dial(subscription, token).await.unwrap();
        let expected = json!({"module": "build_connection", "success": false, "content": wording, "header": {}});
        assert_eq!(client.json().await, expected);
        assert_eq!(client.close().await, bye());
    }
    assert_eq!((zoom.counts().refused, zoom.counts().accepted), (3, 0));
}

#[tokio::test]
async fn newer_socket_evicts_the_older_one() {
    let zoom = Zoom::start().await;
    let mut older = zoom.connect().await;
    let mut newer = zoom.connect().await;
    assert_eq!(older.close().await, bye());
    zoom.wait_for(|counts| counts.closed == 1).await;
    assert_eq!(zoom.reasons(), [Reason::Evicted]);
    assert_eq!(zoom.push(BODY).await, 1);
    assert_eq!(newer.json().await["module"], "message");
}

#[tokio::test]
async fn eviction_can_be_turned_round_or_off() {
    let zoom = Zoom::faulty(&["evict-newer"]).await;
    let mut first = zoom.connect().await;
    let mut second = zoom.connect().await;
    assert_eq!(second.close().await, bye());
    zoom.fault(&["evict-nobody"]);
    let mut third = zoom.connect().await;
    assert_eq!(zoom.push(BODY).await, 2);
    assert_eq!((first.json().await, third.json().await["content"].as_str()), (event_frame(), Some(BODY)));
}

#[tokio::test]
async fn evicted_one_ends_as_told_and_a_rival_evicts_too() {
    let zoom = Zoom::faulty(&["evict-as=1008"]).await;
    let mut older = zoom.connect().await;
    let mut newer = zoom.connect().await;
    assert_eq!(older.close().await.0, 1008);
    zoom.fault(&["rival=1ms"]);
    assert_eq!(newer.close().await, bye());
    zoom.wait_for(|counts| counts.closed == 2).await;
    assert_eq!(zoom.reasons(), [Reason::Evicted, Reason::Evicted]);
}

fn event_frame() -> Value {
    json!({"module": "message", "content": BODY, "header": {}})
}

#[tokio::test]
async fn twin_subscriptions_are_both_served() {
    let subscriptions = vec!["a".into(), "b".into()];
    let zoom = Zoom::with(Options { subscriptions, ..Options::default() }).await;
    let token = zoom.token().await;
    let mut a = zoom.dial("a", &token).await.unwrap();
    let mut b = zoom.dial("b", &token).await.unwrap();
    assert_eq!((a.json().await["success"].clone(), b.json().await["success"].clone()), (json!(true), json!(true)));
    assert_eq!((zoom.push(BODY).await, zoom.push_to("b", BODY).await), (2, 1));
    assert_eq!((a.json().await, b.json().await, b.json().await), (event_frame(), event_frame(), event_frame()));
}

#[tokio::test]
async fn heartbeat_is_answered_and_logged() {
    let zoom = Zoom::start().await;
    let mut client = zoom.connect().await;
    client.say(HEARTBEAT).await;
    assert_eq!(client.text().await, LIVE);
    client.say("hello").await;
    client.say(HEARTBEAT).await;
    assert_eq!(client.text().await, LIVE);
    let (entries, _) = zoom.log(0);
    let kinds: Vec<Value> = entries.iter().map(|entry| serde_json::to_value(entry).unwrap()["what"].clone()).collect();
    assert_eq!(kinds, ["token", "accepted", "heartbeat", "unexpected", "heartbeat"]);
}

#[tokio::test]
async fn heartbeats_can_be_refused_late_or_ignored() {
    let zoom = Zoom::faulty(&["heartbeat-refused"]).await;
    let mut client = zoom.connect().await;
    client.say(HEARTBEAT).await;
    assert_eq!(client.json().await["success"], false);

    zoom.fault(&["heartbeat-late=1ms"]);
    client.say(HEARTBEAT).await;
    assert_eq!(client.text().await, LIVE);

    zoom.fault(&["heartbeat-ignored"]);
    client.say(HEARTBEAT).await;
    zoom.wait_for(|counts| counts.heartbeats == 3).await;
    zoom.push(BODY).await;
    assert_eq!(client.json().await, event_frame(), "an answer would have come first");
}

#[tokio::test]
async fn upgrade_is_refused_with_the_status() {
    let zoom = Zoom::start().await;
    let token = zoom.token().await;
    for status in [401, 403, 404, 429, 502, 503] {
        zoom.fault(&[&format!("connect-status={status}")]);
        match zoom.dial(SUBSCRIPTION, &token).await {
            Err(WsError::Http(response)) => assert_eq!(response.status(), status),
            other => panic!("{:?}", other.err()),
        }
    }
    zoom.fault(&["connect-hang"]);
    tokio::select! {
        other = zoom.dial(SUBSCRIPTION, &token) => panic!("{:?}", other.err()),
        counts = zoom.wait_for(|counts| counts.held == 1) => assert_eq!(counts.refused, 6),
    }
}

#[tokio::test]
async fn silent_socket_says_nothing_after_101() {
    let zoom = Zoom::faulty(&["open-silent"]).await;
    let mut client = zoom.upgrade().await;
    tokio::select! {
        message = client.next() => panic!("{message:?}"),
        counts = zoom.wait_for(|counts| counts.held == 1) => assert_eq!(counts.accepted, 0),
    }
    assert_eq!(zoom.push(BODY).await, 0);
}

#[tokio::test]
async fn first_frame_can_be_late_refused_or_after_an_event() {
    let zoom = Zoom::faulty(&["open-late=1ms"]).await;
    zoom.connect().await;

    zoom.fault(&["open-refused=Nope, \"never\""]);
    let mut client = zoom.upgrade().await;
    let frame = client.json().await;
    assert_eq!((&frame["success"], &frame["content"]), (&json!(false), &json!("Nope, \"never\"")));
    assert_eq!(client.close().await, bye());

    zoom.fault(&["open-event-first"]);
    let mut client = zoom.upgrade().await;
    assert_eq!(client.json().await["module"], "message");
    assert_eq!(client.json().await["module"], "build_connection");
}

#[tokio::test]
async fn first_frame_can_be_bare() {
    let zoom = Zoom::faulty(&["open-bare"]).await;
    let mut client = zoom.upgrade().await;
    assert_eq!(client.text().await, r#"{"success":true,"module":"build_connection"}"#);
}

#[tokio::test]
async fn refusals_can_come_in_every_wording_in_turn() {
    let zoom = Zoom::faulty(&["open-refused-in-turn"]).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..4 {
        let mut client = zoom.upgrade().await;
        let frame = client.json().await;
        assert_eq!(frame["success"], false);
        seen.insert(frame["content"].as_str().unwrap().to_owned());
        assert_eq!(client.close().await, bye());
    }
    let captured = ["Invalid Token", "Token is invalid", "token is empty"];
    assert!(seen.len() == 4 && captured.iter().all(|wording| seen.contains(*wording)), "{seen:?}");
}

#[tokio::test]
async fn silent_connections_get_no_word_and_are_still_steered() {
    let zoom = Zoom::start().await;
    let token = zoom.token().await;
    zoom.fault(&["tcp-silent"]);
    tokio::select! {
        other = zoom.dial(SUBSCRIPTION, &token) => panic!("{:?}", other.err()),
        counts = zoom.wait_for(|counts| counts.held == 1) => assert_eq!(counts.refused, 0),
    }
    tokio::select! {
        answer = zoom.ask("grant_type=client_credentials") => panic!("{answer:?}"),
        counts = zoom.wait_for(|counts| counts.held == 2) => assert_eq!(counts.token_requests, 1),
    }
    let (status, ..) = zoom.http("POST /_control/faults HTTP/1.1\r\ncontent-type: application/json", "[]").await;
    assert_eq!((status, zoom.ask("grant_type=client_credentials").await.0), (200, 200));
}

#[tokio::test]
async fn events_are_held_back_and_let_go() {
    let zoom = Zoom::faulty(&["events-reversed=3"]).await;
    let mut client = zoom.connect().await;
    assert_eq!((zoom.push("1").await, zoom.push("2").await, zoom.push("3").await, zoom.push("4").await), (0, 0, 0, 0));
    for expected in ["3", "2", "1"] {
        assert_eq!(client.json().await["content"], expected);
    }
    // What is left goes when the fault does, and what comes while events are withheld never does.
    zoom.fault(&["events-withheld"]);
    assert_eq!(client.json().await["content"], "4");
    zoom.push("5").await;
    zoom.fault(&["events-late=1ms"]);
    zoom.push("6").await;
    assert_eq!(client.json().await["content"], "6");
    zoom.fault(&["events-burst=1ms"]);
    zoom.push_to(SUBSCRIPTION, "7").await;
    assert_eq!((client.json().await["content"].as_str(), zoom.counts().missed), (Some("7"), 1));
}

#[tokio::test]
async fn frames_of_events_take_every_form() {
    let zoom = Zoom::start().await;
    let mut client = zoom.connect().await;
    let plain = event_frame().to_string();
    let plain: Value = serde_json::from_str(&plain).unwrap();

    zoom.fault(&["frame-object", "frame-header"]);
    zoom.push(BODY).await;
    let frame = client.text().await;
    assert!(frame.contains(&format!(r#""content":{BODY},"header":{{"x-zm"#)), "{frame}");

    zoom.fault(&["frame-fragmented"]);
    zoom.push(BODY).await;
    assert_eq!(client.json().await, plain);

    zoom.fault(&["frame-binary"]);
    zoom.push(BODY).await;
    let message = client.next().await.unwrap();
    assert!(message.is_binary() && serde_json::from_slice::<Value>(&message.into_data()).unwrap() == plain);

    zoom.fault(&["frame-garbage", "frame-unknown", "frame-repeat"]);
    zoom.push(BODY).await;
    assert!(serde_json::from_str::<Value>(&client.text().await).is_err());
    assert_eq!(client.json().await["module"], "weather");
    assert_eq!((client.json().await, client.json().await), (plain.clone(), plain));

    zoom.fault(&["frame-fields", "frame-reordered", "frame-text"]);
    zoom.push(BODY).await;
    let text = client.json().await;
    assert!(text["module"] == "message" && serde_json::from_str::<Value>(text["content"].as_str().unwrap()).is_err());
    let frame = client.text().await;
    assert!(frame.starts_with(r#"{"header":{},"content":""#) && frame.ends_with(r#","module":"message"}"#), "{frame}");
    assert_eq!(serde_json::from_str::<Value>(&frame).unwrap()["version"], 2);

    zoom.fault(&["frame-large=3MiB"]);
    zoom.push(BODY).await;
    assert!(client.text().await.len() > 3 << 20);
}

#[tokio::test]
async fn fragments_are_real_ones() {
    let zoom = Zoom::faulty(&["frame-fragmented"]).await;
    let client = zoom.connect().await;
    zoom.push(BODY).await;
    let mut stream = client.0.into_inner();
    let mut first = [0];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [0x01], "a text frame that is not the last one");
}

#[tokio::test]
async fn server_pings_and_takes_the_answer() {
    let zoom = Zoom::faulty(&["ping=1ms"]).await;
    let mut client = zoom.connect().await;
    assert!(client.next().await.unwrap().is_ping());
    zoom.fault(&[]);
    client.say(HEARTBEAT).await;
    while client.next().await.unwrap().is_ping() {}
}

#[tokio::test]
async fn sockets_end_by_the_clock() {
    for (fault, reason) in [
        ("idle-close=1ms", Reason::Idle),
        ("drop-every=1ms", Reason::Dropped),
        ("close-at-expiry", Reason::TokenExpired),
    ] {
        let token_life = Duration::from_secs(1);
        let zoom = Zoom::with(Options { token_life, ..Options::default() }).await;
        zoom.fault(&[fault, "drop-as=1012"]);
        let mut client = zoom.connect().await;
        assert_eq!(client.close().await, (1012, "Bye".to_owned()), "{fault}");
        assert_eq!(zoom.reasons(), [reason]);
    }
}

#[tokio::test]
async fn dropped_sockets_end_as_told() {
    let zoom = Zoom::start().await;
    let mut client = zoom.connect().await;
    assert_eq!(zoom.drop_sockets(Cut::Close(1001)), 1);
    assert_eq!(client.close().await.0, 1001);

    let mut client = zoom.connect().await;
    assert_eq!(zoom.drop_sockets(Cut::Reset), 1);
    match client.next().await {
        Err(WsError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }

    let mut client = zoom.connect().await;
    assert_eq!((zoom.drop_sockets_of("other", Cut::Fin), zoom.drop_sockets_of(SUBSCRIPTION, Cut::Fin)), (0, 1));
    match client.next().await {
        Err(WsError::Protocol(error)) => assert_eq!(error, ProtocolError::ResetWithoutClosingHandshake),
        other => panic!("{other:?}"),
    }

    let mut client = zoom.connect().await;
    assert_eq!(zoom.drop_sockets(Cut::Silent), 1);
    zoom.wait_for(|counts| counts.closed == 4).await;
    client.say(HEARTBEAT).await;
    assert_eq!((zoom.push(BODY).await, zoom.counts().heartbeats), (0, 0));
}

#[tokio::test]
async fn client_that_leaves_is_noticed() {
    let zoom = Zoom::start().await;
    let mut client = zoom.connect().await;
    client.0.close(None).await.unwrap();
    zoom.wait_for(|counts| counts.closed == 1).await;
    drop(zoom.connect().await);
    zoom.wait_for(|counts| counts.closed == 2).await;
    assert_eq!(zoom.reasons(), [Reason::ClosedByClient, Reason::Lost]);
    assert_eq!(zoom.counts().live(), 0);
}

#[tokio::test]
async fn stop_closes_every_socket() {
    let zoom = Zoom::start().await;
    let mut client = zoom.connect().await;
    zoom.stop.cancel();
    assert_eq!(client.close().await.0, 1001);
    zoom.task.await.unwrap();
    assert_eq!(zoom.simulator.0.log.since(0).0.len(), 3);
}

#[tokio::test]
async fn traffic_begins_with_the_first_socket_and_ends_with_its_count() {
    let traffic = Some(Traffic { count: Some(3000), ..Traffic::meetings(30_000.0) });
    let zoom = Zoom::with(Options { traffic, ..Options::default() }).await;
    let mut client = zoom.connect().await;
    for _ in 0..3000 {
        let frame = client.json().await;
        let body: Value = serde_json::from_str(frame["content"].as_str().unwrap()).unwrap();
        assert!(body["event"].is_string());
    }
    let counts = zoom.wait_for(|counts| counts.sent == 3000).await;
    assert_eq!(counts.missed, 0);
}

#[tokio::test]
async fn event_that_is_still_held_at_the_end_is_missed() {
    let zoom = Zoom::faulty(&["events-late=1h"]).await;
    zoom.connect().await;
    zoom.push(BODY).await;
    assert_eq!(zoom.counts().missed, 0);
    zoom.stop.cancel();
    zoom.wait_for(|counts| counts.missed == 1).await;
}

#[tokio::test]
async fn rate_can_be_changed_while_events_come() {
    let traffic = Some(Traffic { count: Some(50), ..Traffic::meetings(0.0) });
    let zoom = Zoom::with(Options { traffic, ..Options::default() }).await;
    let mut client = zoom.connect().await;
    client.say(HEARTBEAT).await;
    assert_eq!((client.text().await.as_str(), zoom.counts().sent), (LIVE, 0));
    let (_, _, body) =
        zoom.http("POST /_control/rate HTTP/1.1\r\ncontent-type: application/json", r#"{"rate":10000}"#).await;
    assert_eq!(body, r#"{"rate":10000.0}"#);
    zoom.wait_for(|counts| counts.sent == 50).await;
}

#[tokio::test]
async fn lines_of_a_file_come_byte_for_byte_and_end() {
    let source = Source::Once(traffic::lines(b"{ \"a\" : 1.0 }\n\n[]\n").unwrap());
    let traffic = Some(Traffic { rate: 1000.0, count: None, source });
    let zoom = Zoom::with(Options { traffic, ..Options::default() }).await;
    let mut client = zoom.connect().await;
    assert_eq!(client.json().await["content"], r#"{ "a" : 1.0 }"#);
    assert_eq!(client.json().await["content"], "[]");
    client.say(HEARTBEAT).await;
    assert_eq!(client.text().await, LIVE);
}

#[tokio::test]
async fn no_event_is_counted_neither_sent_nor_missed() {
    let traffic = Some(Traffic { count: Some(20_000), ..Traffic::meetings(1_000_000.0) });
    let zoom = Zoom::with(Options { traffic, ..Options::default() }).await;
    let client = zoom.connect().await;
    // A client that reads nothing is held up in the middle of a write, then reset.
    zoom.wait_for(|counts| counts.sent > 0).await;
    zoom.drop_sockets(Cut::Reset);
    zoom.wait_for(|counts| counts.sent + counts.missed == 20_000).await;
    drop(client);
}

#[tokio::test]
async fn other_addresses_than_loopback_are_refused() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let error = Simulator::bind(Options { listen, ..Options::default() }).await.err().unwrap();
    assert!(error.to_string().contains("expected a loopback address"), "{error}");
}
