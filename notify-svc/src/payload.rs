//! Payload: what a provider is given to carry, made of a push. Pure.
//!
//! Each provider's file adds what only it needs. Without a preview the texts are keys that the app
//! localises, and the device fetches the messages (`ListEvents` from `position`).
//!
//! Invariant: whatever a shard may send fits each provider's limit, counted as JSON: the preview
//! gives way first, then the title, both at the borders of what people take for one letter.

use heddle_proto::internal::PushKind;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::push::{Push, label};
use crate::text::{cut_json, json_bytes};

/// How long a provider keeps a push for a device that is off, in seconds: four weeks.
pub const TTL_S: u64 = 2_419_200;
/// The title of a test.
const TEST_TITLE: &str = "Heddle";
/// Bodies are made anew this often until they fit; a text that stands twice may need three.
const CUTS_MAX: usize = 6;

/// What a test sends, for the person who tests.
pub fn told(push: &Push) -> String {
    let title = Words::of(push).title().unwrap_or_default().to_owned();
    let sound = match &*push.sound {
        "" => "the platform's own",
        sound => sound,
    };
    let text_key = text_key(push);
    format!("sent title {title:?} and text {text_key}; sound: {sound}")
}

/// What people read of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    title: String,
    /// Who said it, where the title does not say it.
    sender: String,
    preview: String,
}

impl Words {
    /// All that a push may say. In a direct conversation the title is the sender's name.
    pub fn of(push: &Push) -> Self {
        let preview = push.preview.as_deref().unwrap_or("");
        let (title, sender) = match (push.kind, &*push.title) {
            (PushKind::Test, _) => (TEST_TITLE, ""),
            (PushKind::Message | PushKind::Update, title) => match title {
                "" if preview.is_empty() => ("", ""),
                "" => (&*push.sender_name, ""),
                title if title == &*push.sender_name => (title, ""),
                title => (title, &*push.sender_name),
            },
            _ => return Self::default(),
        };
        Self {
            title: title.to_owned(),
            sender: sender.to_owned(),
            preview: preview.to_owned(),
        }
    }

    /// The title, if there is one.
    pub fn title(&self) -> Option<&str> {
        Some(&*self.title).filter(|title| !title.is_empty())
    }

    /// The text, if one is to be shown.
    pub fn body(&self) -> Option<String> {
        match (&*self.sender, &*self.preview) {
            (_, "") => None,
            ("", preview) => Some(preview.to_owned()),
            (sender, preview) => Some(format!("{sender}: {preview}")),
        }
    }

    /// Makes them shorter by so many bytes of JSON, if they can be.
    fn cut(&mut self, bytes: usize) {
        let text = match self.preview.is_empty() {
            false => &mut self.preview,
            true => &mut self.title,
        };
        let bytes_max = json_bytes(text).saturating_sub(bytes);
        *text = cut_json(text, bytes_max).into_owned();
    }
}

/// The body with as much of the words as fits into so many bytes.
pub fn fitted(push: &Push, bytes_max: usize, body: impl Fn(&Words) -> Value) -> String {
    let mut words = Words::of(push);
    let mut text = body(&words).to_string();
    for _ in 0..CUTS_MAX {
        let Some(over) = text.len().checked_sub(bytes_max + 1) else {
            break;
        };
        words.cut(over + 1);
        text = body(&words).to_string();
    }
    text
}

/// Whether it shows something; else it takes away, or sets the badge.
pub fn is_shown(push: &Push) -> bool {
    !matches!(push.kind, PushKind::Clear | PushKind::Badge)
}

/// Whether a person is to hear of it now.
pub fn is_urgent(push: &Push) -> bool {
    matches!(push.kind, PushKind::Message | PushKind::Test)
}

/// What a newer push takes the place of: a conversation's, the badge's, a test's. Up to 32
/// characters of hexadecimal digits or words.
pub fn collapse_key(push: &Push) -> String {
    match push.kind {
        PushKind::Badge | PushKind::Test => label(push.kind).to_owned(),
        _ => push.conversation_id.to_string(),
    }
}

/// The key of the text: the app knows its words.
pub fn text_key(push: &Push) -> &'static str {
    match (push.kind, push.mentioned, push.count) {
        (PushKind::Test, _, _) => "HEDDLE_TEST",
        (_, true, _) => "HEDDLE_MENTIONED",
        (_, false, 0 | 1) => "HEDDLE_MESSAGE",
        (_, false, _) => "HEDDLE_MESSAGES",
    }
}

/// What an app needs to do its part and to fetch the messages, as strings: FCM carries nothing
/// else.
pub fn fields(push: &Push) -> Map<String, Value> {
    let fields = json!({
        "action": label(push.kind),
        "push_id": &*push.push_id,
        "user_id": &*push.user_id,
        "conversation_id": push.conversation_id.to_string(),
        "seq": push.seq.to_string(),
        "position": push.position.to_string(),
        "count": push.count.to_string(),
        "badge": push.badge.to_string(),
        "mentioned": push.mentioned.to_string(),
    });
    let Value::Object(mut fields) = fields else {
        return Map::new();
    };
    if is_shown(push) {
        fields.insert("text_key".into(), text_key(push).into());
    }
    if push.kind == PushKind::Update {
        fields.insert("silent".into(), "true".into());
    }
    fields
}

/// The same with the words, where nothing beside it says them.
pub fn worded(push: &Push, words: &Words) -> Map<String, Value> {
    let mut fields = fields(push);
    let title = words.title().map(|title| ("title", title.into()));
    let body = words.body().map(|body| ("body", body.into()));
    let both = title.into_iter().chain(body);
    fields.extend(both.map(|(name, text)| (name.to_owned(), text)));
    fields
}

/// The same for one push and registration however often it is sent.
pub fn id(push: &Push) -> Uuid {
    let registration = push.registration_id();
    let name = format!("{}\n{}\n{registration}", push.push_id, push.device_id);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

#[cfg(test)]
#[path = "payload_tests.rs"]
pub mod tests;
