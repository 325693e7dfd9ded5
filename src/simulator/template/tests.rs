use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::*;

const NOW: i64 = 1_900_000_000_123;

#[test]
fn field_that_the_body_lacks_is_named_before_it_is_added() {
    let missing =
        |path: &str| format!("{path}=1").parse::<edit::Edit>().expect("an edit").missing(r#"{"a":{"b":[{"c":1}]}}"#);
    assert_eq!([missing("a.b"), missing("a.b.0.c")], [None, None]);
    assert_eq!([missing("foo.bar"), missing("a.b.0.d")], [Some("foo".to_owned()), Some("a.b.0.d".to_owned())]);
}

#[test]
fn corpus_is_the_folder_of_fixtures() {
    let mut files = BTreeSet::new();
    for family in list(Path::new("fixtures/events")) {
        let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
        files.extend(list(&family).iter().map(|file| (name(&family), name(file))));
    }
    let known: BTreeSet<_> = all().iter().map(|of| (of.family.to_owned(), of.name.to_owned())).collect();
    let missing: Vec<_> = files.difference(&known).collect();
    assert!(missing.is_empty(), "not in src/simulator/template/corpus.rs: {missing:?}");
    assert_eq!(known.len(), all().len(), "a template stands there twice");
    let names: BTreeSet<_> = all().iter().map(|of| of.name).collect();
    assert_eq!(names.len(), all().len(), "two families share a name");
}

#[test]
fn fresh_bodies_differ_in_scalars_of_known_keys_alone() {
    for template in all() {
        let fresh = template.fresh(now(), 7);
        assert_eq!(skeleton(template.body), skeleton(&fresh), "{}", template.name);
        for ((key, old), (_, new)) in scalars(template.body).iter().zip(scalars(&fresh)) {
            let is_time = old.len() >= 20 && old.contains('T') && old.ends_with("Z\"");
            let is_known = ["id", "uuid", "users", "token", "Token", "Id", "event_ts", "timestamp", "time_stamp"];
            let may_change = is_time || is_known.iter().any(|end| key.ends_with(end));
            assert!(may_change || *old == new, "{}: {key}: {old} became {new}", template.name);
            assert_eq!(old.len(), new.len(), "{}: {key}: {old} became {new}", template.name);
        }
    }
}

#[test]
fn bodies_with_an_id_differ_from_call_to_call_even_at_one_instant() {
    let alike: Vec<_> = all().iter().filter(|of| of.fresh(now(), 1) == of.fresh(now(), 2)).map(|of| of.name).collect();
    // Nothing in these names anything that is new with each event.
    let without_ids = [
        "account.disassociated",
        "escaped_key",
        "integer_above_2_53",
        "integer_above_2_64",
        "no_payload",
        "payload_null",
        "phone.peering_number_emergency_address_updated",
        "recording.cloud_storage_usage_updated",
        "team_chat.link_shared",
    ];
    let unexpected: Vec<_> = alike.iter().filter(|name| !without_ids.contains(name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[test]
fn same_seed_and_time_make_the_same_bytes() {
    for template in all() {
        assert_eq!(template.fresh(now(), 5), template.fresh(now(), 5), "{}", template.name);
    }
}

#[test]
fn event_happens_now_and_its_times_keep_their_distances() {
    let body = find("meeting.participant_joined").expect("a template").fresh(now(), 3);
    let value: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(value["event_ts"], NOW);
    let object = &value["payload"]["object"];
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok()).expect("a time");
    let (start, join) = (time(&object["start_time"]), time(&object["participant"]["join_time"]));
    assert_eq!(join.duration_since(start).as_secs(), 8 * 60 + 5, "as in the template");
    assert_eq!(now().duration_since(join).as_secs(), 1_785_370_827 - 1_785_369_362 + 1, "as in the template");
}

#[test]
fn equal_ids_stay_equal() {
    let body = find("recording.completed").expect("a template").fresh(now(), 3);
    let value: Value = serde_json::from_str(&body).expect("JSON");
    let object = &value["payload"]["object"];
    assert_eq!(object["uuid"], object["recording_files"][0]["meeting_id"]);
    assert_eq!(object["account_id"], value["payload"]["account_id"]);
    assert_eq!(value["payload"]["account_id"], "q3XvT0mZRl2fWkHn8yLpEA", "the customer stays");
    assert_eq!(renamed("83326477843", 9), renamed("83326477843", 9));
}

#[test]
fn new_names_have_the_form_of_the_old() {
    let same_form = |old: &str, new: &str| {
        old.len() == new.len()
            && old.bytes().zip(new.bytes()).all(|(old, new)| {
                let class = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase(), byte.is_ascii_lowercase());
                class(old) == class(new) && (old.is_ascii_alphanumeric() || old == new)
            })
    };
    for old in ["83326477843", "A0FVHovN/336x0WP6mmZBg==", "MSG_WEB_a7849017-ecfb-47b7-a696-3d2936ff7a4b"] {
        let new = renamed(old, 11);
        assert!(same_form(old, &new) && old != new, "{old} became {new}");
    }
    let uuid = renamed("dd553ab3-b936-4011-aa08-5c63dc4b90b3", 11);
    let uuid = uuid::Uuid::parse_str(&uuid).unwrap_or_else(|error| panic!("{uuid}: {error}"));
    assert_eq!(uuid.get_version_num(), 4);
    assert!(renamed("MSG_WEB_a7849017", 4).starts_with("MSG_WEB_"));
    assert!(renamed("83326477843", 4).starts_with('8'), "a number of as many digits");
    assert!(!names_something("root") && !names_something("cal1@example.com") && !names_something(r"a\u00e91"));
}

#[test]
fn templates_are_found_by_name_and_by_type() {
    let name = |wanted| find(wanted).map(|template| template.name);
    assert_eq!(name("meeting.started"), Some("meeting.started"));
    assert_eq!(name("meeting.started-number_id"), Some("meeting.started-number_id"));
    assert_eq!(name("phone.call_qos"), Some("phone.call_qos-payload_array"), "the only one of its type");
    assert_eq!(name("minus_zero"), Some("minus_zero"));
    assert_eq!(name("meeting.paused"), None);
}

#[test]
fn each_type_comes_once_and_in_its_usual_form() {
    let each = one_of_each_type();
    let types: BTreeSet<_> = each.iter().map(|template| template.kind()).collect();
    assert_eq!(types.len(), each.len());
    assert!(types.len() >= 120, "{}", types.len());
    assert!(each.iter().any(|template| template.name == "meeting.started"));
    assert!(each.iter().all(|template| template.family != "traps"));
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(NOW).expect("a time")
}

/// Returns a body with a mark in the place of every scalar value.
fn skeleton(body: &str) -> String {
    let places = places(body).into_iter().map(|(_, place)| (place, "~".to_owned())).collect();
    splice(body, places)
}

fn scalars(body: &str) -> Vec<(String, String)> {
    places(body).into_iter().map(|(key, place)| (key, body[place].to_owned())).collect()
}

fn places(body: &str) -> Vec<(String, Range<usize>)> {
    fn walk(body: &str, key: &str, value: &RawValue, found: &mut Vec<(String, Range<usize>)>) {
        match json::inside(value) {
            Inside::Object(members) => members.iter().for_each(|(key, value)| walk(body, bare(key), value, found)),
            Inside::Array(items) => items.iter().for_each(|item| walk(body, key, item, found)),
            Inside::Scalar => found.push((key.to_owned(), json::place(body, value))),
        }
    }
    let mut found = Vec::new();
    walk(body, "", json::value(body).expect("JSON"), &mut found);
    found
}

fn list(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}
