//! Life cycles of meetings, with the shapes and both key orders of real bodies.
//!
//! Pure: the same seed and times give the same bytes.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::config::filter::Pattern;
use crate::simulator::dice::Dice;

/// Meetings that go on at once: a few, so that their events interleave and each still ends soon.
const AT_ONCE: usize = 4;

const ACCOUNT: &str = "Sim0Account0Demo0Zoom1";
const TOPICS: [&str; 10] = [
    "Stand-up",
    "Ward round 4B",
    "Quarterly review",
    "Onboarding",
    "Überblick — 週次 🚀",
    "Board: risk & audit",
    "Case conference",
    "Treasury daily",
    "Réunion d'équipe",
    "1:1",
];
const NAMES: [&str; 14] = [
    "Ana Oliveira",
    "Ben Carter",
    "Chidi Okafor",
    "Dana Levi",
    "Émile Durand",
    "Fatima Zahra",
    "Grace Kim",
    "Håkon Berg",
    "田中 美咲",
    "José García",
    "Priya Nair",
    "Олена Коваль",
    "ليلى حداد",
    "Sam 🎧",
];
const REASONS: [&str; 3] = [
    "left the meeting.<br>Reason: Host ended the meeting.",
    "left the meeting.<br>Reason: left the meeting.",
    "got disconnected from the meeting.<br>Reason: Network connection error.",
];

/// The types of the events that a meeting brings.
pub const TYPES: [&str; 5] = [
    "meeting.started",
    "meeting.participant_joined",
    "meeting.participant_left",
    "meeting.ended",
    "recording.completed",
];

/// Makes the bodies of events, one after the other.
pub struct Meetings {
    dice: Dice,
    meetings: Vec<Meeting>,
}

struct Meeting {
    id: u64,
    uuid: String,
    host: String,
    topic: &'static str,
    kind: u64,
    minutes: u64,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    recorded: bool,
    to_join: u64,
    joined: u64,
    present: Vec<Participant>,
}

struct Participant {
    user_id: u64,
    uuid: String,
    id: String,
    name: &'static str,
}

impl Meetings {
    /// Begins a sequence that the seed determines.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let meetings = (0..AT_ONCE).map(|_| Meeting::plan(&mut dice)).collect();
        Self { dice, meetings }
    }

    /// Makes the next event, which happens `now`.
    pub fn next(&mut self, now: Timestamp) -> String {
        self.step(now).1
    }

    /// Makes the next event of those types that one of the patterns matches; of the rest, the meetings go on unseen.
    ///
    /// Returns `None` when no event of a meeting is of such a type.
    pub fn next_of(&mut self, wanted: &[Pattern], now: Timestamp) -> Option<String> {
        let wants = |kind: &str| wanted.iter().any(|pattern| pattern.matches(kind));
        if !TYPES.into_iter().any(wants) {
            return None;
        }
        loop {
            let (kind, body) = self.step(now);
            if wants(kind) {
                return Some(body);
            }
        }
    }

    fn step(&mut self, now: Timestamp) -> (&'static str, String) {
        let index = self.dice.between(0, AT_ONCE as u64) as usize;
        let meeting = &mut self.meetings[index];
        let event = meeting.step(now, &mut self.dice);
        if meeting.is_over() {
            *meeting = Meeting::plan(&mut self.dice);
        }
        event
    }
}

impl Meeting {
    fn plan(dice: &mut Dice) -> Self {
        Self {
            id: dice.between(80_000_000_000, 89_999_999_999),
            uuid: uuid(dice),
            host: dice.text(22),
            topic: dice.pick(&TOPICS),
            kind: dice.pick(&[2, 2, 8, 1]),
            minutes: dice.pick(&[15, 30, 45, 60]),
            started: None,
            ended: None,
            recorded: dice.between(0, 2) == 0,
            to_join: dice.between(2, 7),
            joined: 0,
            present: Vec::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.ended.is_some() && !self.recorded
    }

    /// Goes one step further: started, people come and go, ended, and the recording if there is one.
    fn step(&mut self, now: Timestamp, dice: &mut Dice) -> (&'static str, String) {
        let [started, joined, left, ended, recorded] = TYPES;
        if self.started.is_none() {
            self.started = Some(now);
            return (started, self.of_meeting(started, now));
        }
        if self.ended.is_some() {
            self.recorded = false;
            return (recorded, self.recording(recorded, now, dice));
        }
        let comes = self.joined < self.to_join && (self.present.is_empty() || dice.between(0, 3) > 0);
        if comes {
            self.joined += 1;
            let participant = Participant {
                user_id: 16_778_240 + 1024 * self.joined,
                uuid: uuid(dice),
                id: dice.text(22),
                name: dice.pick(&NAMES),
            };
            let body = self.of_participant(joined, &participant, now, None);
            self.present.push(participant);
            return (joined, body);
        }
        if self.present.is_empty() {
            self.ended = Some(now);
            return (ended, self.of_meeting(ended, now));
        }
        let leaver = self.present.swap_remove(dice.between(0, self.present.len() as u64) as usize);
        (left, self.of_participant(left, &leaver, now, Some(dice.pick(&REASONS))))
    }

    fn of_meeting(&self, event: &str, now: Timestamp) -> String {
        let mut body = format!(
            r#"{{"event":"{event}","payload":{{"account_id":"{ACCOUNT}","object":{{"id":"{}","uuid":"{}","host_id":"{}","topic":"{}","type":{},"#,
            self.id, self.uuid, self.host, self.topic, self.kind,
        );
        let started = iso(self.started.unwrap_or(now));
        append(&mut body, format_args!(r#""start_time":"{started}","timezone":"UTC","duration":{}"#, self.minutes));
        if let Some(ended) = self.ended {
            append(&mut body, format_args!(r#","end_time":"{}""#, iso(ended)));
        }
        append(&mut body, format_args!(r#"}}}},"event_ts":{}}}"#, now.as_millisecond()));
        body
    }

    fn of_participant(&self, event: &str, who: &Participant, now: Timestamp, leave: Option<&str>) -> String {
        let started = iso(self.started.unwrap_or(now));
        let mut body = format!(
            r#"{{"payload":{{"account_id":"{ACCOUNT}","object":{{"uuid":"{}","participant":{{"public_ip":"192.0.2.{}","user_id":"{}","user_name":"{}","participant_uuid":"{}","id":"{}","email":"p{}@example.com","#,
            self.uuid,
            who.user_id / 1024 % 250,
            who.user_id,
            who.name,
            who.uuid,
            who.id,
            who.user_id,
        );
        let time = iso(now);
        match leave {
            None => append(&mut body, format_args!(r#""join_time":"{time}""#)),
            Some(reason) => append(&mut body, format_args!(r#""leave_time":"{time}","leave_reason":"{reason}""#)),
        }
        append(
            &mut body,
            format_args!(
                r#"}},"id":"{}","type":{},"topic":"{}","host_id":"{}","duration":{},"start_time":"{started}","timezone":"UTC"}}}},"event_ts":{},"event":"{event}"}}"#,
                self.id,
                self.kind,
                self.topic,
                self.host,
                self.minutes,
                now.as_millisecond(),
            ),
        );
        body
    }

    fn recording(&self, event: &str, now: Timestamp, dice: &mut Dice) -> String {
        let (started, ended) = (self.started.unwrap_or(now), self.ended.unwrap_or(now));
        let mut files = String::new();
        let mut total = 0;
        for (kind, extension) in [("shared_screen_with_speaker_view", "MP4"), ("audio_only", "M4A")] {
            let size = dice.between(1 << 20, 1 << 30);
            total += size;
            let separator = if files.is_empty() { "" } else { "," };
            append(
                &mut files,
                format_args!(
                    r#"{separator}{{"id":"{}","meeting_id":"{}","recording_start":"{}","recording_end":"{}","file_type":"{extension}","file_size":{size},"file_extension":"{extension}","play_url":"https://example.com/rec/play/{}","download_url":"https://example.com/rec/download/{}","status":"completed","recording_type":"{kind}"}}"#,
                    dice.text(36),
                    self.uuid,
                    iso(started),
                    iso(ended),
                    dice.text(60),
                    dice.text(60),
                ),
            );
        }
        format!(
            r#"{{"payload":{{"account_id":"{ACCOUNT}","object":{{"uuid":"{}","id":{},"account_id":"{ACCOUNT}","host_id":"{}","topic":"{}","type":{},"start_time":"{}","timezone":"UTC","duration":{},"total_size":{total},"recording_count":2,"share_url":"https://example.com/rec/share/{}","recording_files":[{files}]}}}},"event_ts":{},"event":"{event}","download_token":"{}"}}"#,
            self.uuid,
            self.id,
            self.host,
            self.topic,
            self.kind,
            iso(started),
            self.minutes,
            dice.text(60),
            now.as_millisecond(),
            dice.text(120),
        )
    }
}

/// A meeting uuid: base64 of 16 bytes, with the `/` and `+` that real ones have.
fn uuid(dice: &mut Dice) -> String {
    let mut text = dice.text(22).replace('-', "+").replace('_', "/");
    text.push_str("==");
    text
}

fn iso(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%Y-%m-%dT%H:%M:%SZ")
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    fn bodies(seed: u64, count: usize) -> Vec<String> {
        let mut meetings = Meetings::new(seed);
        let begin = Timestamp::from_second(1_785_369_357).unwrap();
        (0..count).map(|index| meetings.next(begin + Duration::from_millis(index as u64 * 250))).collect()
    }

    #[test]
    fn same_seed_gives_the_same_bytes() {
        assert_eq!(bodies(5, 500), bodies(5, 500));
        assert_ne!(bodies(5, 500), bodies(6, 500));
    }

    #[test]
    fn no_body_repeats_another_even_at_one_instant() {
        let mut meetings = Meetings::new(3);
        let made: HashSet<String> = (0..20_000).map(|_| meetings.next(Timestamp::UNIX_EPOCH)).collect();
        assert_eq!(made.len(), 20_000);
    }

    #[test]
    fn every_life_cycle_is_consistent() {
        let mut cycles: HashMap<String, Vec<Value>> = HashMap::new();
        for body in bodies(11, 3000) {
            let value: Value = serde_json::from_str(&body).unwrap();
            let uuid = value["payload"]["object"]["uuid"].as_str().unwrap().to_owned();
            cycles.entry(uuid).or_default().push(value);
        }
        let mut complete = 0;
        for events in cycles.values() {
            complete += usize::from(check(events));
        }
        assert!(complete > 100, "{complete}");
    }

    /// Walks one meeting and says whether it came to its end.
    fn check(events: &[Value]) -> bool {
        let mut present = HashSet::new();
        let mut ended = false;
        let first = &events[0]["payload"]["object"];
        assert_eq!(events[0]["event"], "meeting.started");
        for (index, event) in events.iter().enumerate() {
            let object = &event["payload"]["object"];
            let id = object["id"].as_str().map_or_else(|| object["id"].to_string(), str::to_owned);
            assert_eq!(id, first["id"].as_str().unwrap());
            for field in ["topic", "host_id", "start_time", "type"] {
                assert_eq!(object[field], first[field], "{field}");
            }
            let who = &object["participant"]["participant_uuid"];
            match event["event"].as_str().unwrap() {
                "meeting.started" => assert_eq!(index, 0),
                "meeting.participant_joined" => assert!(!ended && present.insert(who.clone())),
                "meeting.participant_left" => assert!(present.remove(who)),
                "meeting.ended" => {
                    assert!(present.is_empty() && !ended);
                    ended = true;
                }
                "recording.completed" => assert!(ended && object["id"].is_u64() && event["download_token"].is_string()),
                other => panic!("{other}"),
            }
        }
        ended
    }

    #[test]
    fn wanted_types_alone_are_made() {
        let wanted: Vec<Pattern> = vec!["meeting.participant_*".parse().unwrap(), "meeting.ended".parse().unwrap()];
        let mut meetings = Meetings::new(4);
        let mut kinds = HashSet::new();
        for _ in 0..300 {
            let body: Value = serde_json::from_str(&meetings.next_of(&wanted, Timestamp::UNIX_EPOCH).unwrap()).unwrap();
            kinds.insert(body["event"].as_str().unwrap().to_owned());
        }
        let expected = ["meeting.participant_joined", "meeting.participant_left", "meeting.ended"];
        assert_eq!(kinds, expected.map(str::to_owned).into());
        assert_eq!(meetings.next_of(&["phone.*".parse().unwrap()], Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn bodies_are_compact_json_in_both_key_orders() {
        let made = bodies(2, 200);
        for body in &made {
            let compact: &serde_json::value::RawValue = serde_json::from_str(body).unwrap();
            assert!(!compact.get().contains("\": ") && !compact.get().contains("\\/"), "{body}");
        }
        let first = |start: &str| made.iter().filter(|body| body.starts_with(start)).count();
        assert!(first(r#"{"event":"#) > 0 && first(r#"{"payload":"#) > 0);
    }
}
