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
    assert_eq!(zoom.drop_sockets(Cut::Silent), 1);
    zoom.wait_for(|counts| counts.closed == 3).await;
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
    let traffic = Some(Traffic { rate: 30_000.0, count: Some(3000) });
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
async fn no_event_is_counted_neither_sent_nor_missed() {
    let traffic = Some(Traffic { rate: 1_000_000.0, count: Some(20_000) });
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
