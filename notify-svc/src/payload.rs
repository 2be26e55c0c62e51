//! Payload: what a provider is given to carry, made of a push. Pure.
//!
//! Each provider's file adds what only it needs. Texts are keys that the app localises; titles and
//! messages are fetched by the device (`ListEvents` from `position`), so none passes a provider.
//!
//! Invariant: whatever a shard may send fits the smallest limit of all providers
//! (Web Push: 3,993 bytes before it is encrypted); a test holds it.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::push::Push;

/// How long a provider keeps a push for a device that is off, in seconds: four weeks.
pub const TTL_S: u64 = 2_419_200;

/// The key of the text: the app knows its words.
pub fn text_key(push: &Push) -> &'static str {
    match (push.mentioned, push.count) {
        (true, _) => "HEDDLE_MENTIONED",
        (false, 0 | 1) => "HEDDLE_MESSAGE",
        (false, _) => "HEDDLE_MESSAGES",
    }
}

/// What an app needs to fetch the messages, as strings: FCM carries nothing else.
pub fn fields(push: &Push) -> Map<String, Value> {
    let fields = json!({
        "push_id": &*push.push_id,
        "user_id": &*push.user_id,
        "conversation_id": push.conversation_id.to_string(),
        "seq": push.seq.to_string(),
        "position": push.position.to_string(),
        "count": push.count.to_string(),
        "badge": push.badge.to_string(),
        "mentioned": push.mentioned.to_string(),
        "text_key": text_key(push),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The same for one push and registration however often it is sent.
pub fn id(push: &Push) -> Uuid {
    let registration = push.registration.as_deref();
    let registration = registration.map_or("", |it| it.registration_id.as_str());
    let name = format!("{}\n{}\n{registration}", push.push_id, push.device_id);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::ids::{LogId, NAME_BYTES_MAX};

    /// What the strictest provider takes: Web Push, 4,096 bytes less its header and padding.
    const PAYLOAD_BYTES_MAX: usize = 3_993;

    /// The longest that a shard may send, made of what JSON must write with six bytes each.
    fn largest() -> Push {
        let name = "\u{1}".repeat(NAME_BYTES_MAX);
        Push {
            push_id: name.as_str().into(),
            user_id: name.as_str().into(),
            device_id: name.as_str().into(),
            conversation_id: LogId::direct("ann", "bob"),
            seq: u64::MAX,
            position: u64::MAX,
            count: u32::MAX,
            badge: u64::MAX,
            mentioned: true,
            registration: None,
        }
    }

    #[test]
    fn the_largest_push_fits_every_provider() {
        let length = Value::Object(fields(&largest())).to_string().len();
        // Less than a kilobyte is added by each provider around the fields.
        assert!(length + 1_024 <= PAYLOAD_BYTES_MAX, "{length}");
    }

    #[test]
    fn a_repetition_has_the_same_id_and_another_push_has_not() {
        let (one, mut other) = (largest(), largest());
        assert_eq!(id(&one), id(&other));
        other.device_id = "tablet".into();
        assert_ne!(id(&one), id(&other));
    }

    #[test]
    fn the_text_says_what_waits() {
        let mut push = largest();
        assert_eq!(text_key(&push), "HEDDLE_MENTIONED");
        push.mentioned = false;
        assert_eq!(text_key(&push), "HEDDLE_MESSAGES");
        push.count = 1;
        assert_eq!(text_key(&push), "HEDDLE_MESSAGE");
    }
}
