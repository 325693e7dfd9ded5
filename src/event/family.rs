//! ◆ Families of event types: few enough to count each by itself, however many types Zoom has.

/// Is a product or a concern of Zoom's that a type belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the first part of its types")]
pub enum Family {
    Account,
    App,
    Calendar,
    Chatbot,
    ContactCenter,
    Docs,
    Meeting,
    Node,
    /// People who come to a meeting, and leave it.
    Participant,
    Phone,
    /// Quality of service, several times a minute for each participant.
    Qss,
    Recording,
    /// Media streams in real time.
    Rtms,
    Scheduler,
    TeamChat,
    User,
    Webinar,
    Whiteboard,
    ZoomRooms,
    /// Types that are in no other family, as a new product's.
    Other,
}

impl Family {
    /// Lists every family with its word, in the order of the declaration.
    pub const WORDS: [(Self, &str); 20] = [
        (Self::Account, "account"),
        (Self::App, "app"),
        (Self::Calendar, "calendar"),
        (Self::Chatbot, "chatbot"),
        (Self::ContactCenter, "contact_center"),
        (Self::Docs, "docs"),
        (Self::Meeting, "meeting"),
        (Self::Node, "node"),
        (Self::Participant, "participant"),
        (Self::Phone, "phone"),
        (Self::Qss, "qss"),
        (Self::Recording, "recording"),
        (Self::Rtms, "rtms"),
        (Self::Scheduler, "scheduler"),
        (Self::TeamChat, "team_chat"),
        (Self::User, "user"),
        (Self::Webinar, "webinar"),
        (Self::Whiteboard, "whiteboard"),
        (Self::ZoomRooms, "zoom_rooms"),
        (Self::Other, "other"),
    ];

    /// Finds the family of a type; total.
    pub fn of(kind: &str) -> Self {
        let (stem, rest) = kind.split_once('.').unwrap_or((kind, ""));
        // Whatever they are about, these two are streams of their own.
        if rest.starts_with("rtms_") {
            return Self::Rtms;
        }
        if rest == "participant_data" || rest.ends_with("qos") || rest.contains("_qos_") {
            return Self::Qss;
        }
        match stem {
            "meeting" if rest.starts_with("participant_") => Self::Participant,
            "meeting" => Self::Meeting,
            "webinar" => Self::Webinar,
            "recording" => Self::Recording,
            "phone" => Self::Phone,
            "user" => Self::User,
            "account" | "group" => Self::Account,
            "app" | "app_deauthorized" => Self::App,
            "calendar" => Self::Calendar,
            "contact_center" => Self::ContactCenter,
            "docs" => Self::Docs,
            "node" => Self::Node,
            "scheduler" => Self::Scheduler,
            "chat_channel" | "chat_message" | "chat_message_file" | "team_chat" => Self::TeamChat,
            "whiteboard" => Self::Whiteboard,
            "zoomroom" | "workspace" => Self::ZoomRooms,
            "bot_installed" | "bot_notification" => Self::Chatbot,
            stem if stem.starts_with("interactive_message_") => Self::Chatbot,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_of_a_family_is_its_discriminant() {
        for (position, (family, _)) in Family::WORDS.into_iter().enumerate() {
            assert_eq!(family as usize, position, "{family:?}");
        }
    }

    #[test]
    fn types_of_the_corpus_are_in_the_family_of_their_folder() {
        let mut checked = 0;
        for (family, folder) in Family::WORDS {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/events").join(folder);
            let Ok(files) = std::fs::read_dir(path) else { continue };
            for file in files {
                let name = file.expect("an entry").file_name().into_string().expect("text");
                let kind = name.trim_end_matches(".json").split('-').next().unwrap_or_default();
                match kind {
                    // It never comes by a socket.
                    "endpoint.url_validation" => continue,
                    "meeting.participant_admitted" => assert_eq!(Family::of(kind), Family::Participant),
                    kind => assert_eq!(Family::of(kind), family, "{kind}"),
                }
                checked += 1;
            }
        }
        assert!(checked > 100, "{checked}");
    }

    #[test]
    fn types_that_nobody_knows_yet_are_counted_all_the_same() {
        for kind in ["", ".", "hologram.projected", "Meeting.started", "週次"] {
            assert_eq!(Family::of(kind), Family::Other, "{kind}");
        }
    }
}
