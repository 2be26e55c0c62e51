//! Push: what one device is to be told. Made of an intent by `pipeline`, sent by providers.
//!
//! Invariant: holds no message body, so that none can be logged, kept or sent after an erasure.

use std::fmt::Display;
use std::sync::Arc;

use heddle_proto::ids::{LogId, NAME_BYTES_MAX};
use heddle_proto::internal::PushIntent;
use serde::{Serialize, Serializer};

/// Devices that one intent may name.
pub const DEVICES_MAX: usize = 1_000;

/// What one device is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Push {
    /// Names the intent for ever; the pushes of all its devices share it.
    #[serde(serialize_with = "as_text")]
    pub push_id: Arc<str>,
    /// Whose device.
    #[serde(serialize_with = "as_text")]
    pub user_id: Arc<str>,
    /// Which device.
    #[serde(serialize_with = "as_text")]
    pub device_id: Arc<str>,
    /// What pushes collapse by.
    #[serde(serialize_with = "as_text")]
    pub conversation_id: LogId,
    /// The newest message.
    pub seq: u64,
    /// Its position in the user's mailbox.
    pub position: u64,
    /// Messages of this conversation that wait.
    pub count: u32,
    /// Exact unread over all unmuted conversations.
    pub badge: u64,
    /// Whether the newest message mentions the user.
    pub mentioned: bool,
}

/// An intent that can never become a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {wrong}; this is an error of the shard that sent the intent")]
pub struct InvalidIntent {
    pub field: &'static str,
    pub wrong: &'static str,
}

impl Push {
    /// The pushes of an intent, one for each device that it names.
    pub fn all_of(intent: PushIntent) -> Result<Vec<Self>, InvalidIntent> {
        let name = |field, name: &str| match name.len() {
            1..=NAME_BYTES_MAX => Ok(Arc::<str>::from(name)),
            _ => Err(InvalidIntent {
                field,
                wrong: "must have 1 to 128 bytes",
            }),
        };
        if intent.device_ids.len() > DEVICES_MAX {
            return Err(InvalidIntent {
                field: "device_ids",
                wrong: "must be 1,000 at most",
            });
        }
        let push_id = name("push_id", &intent.push_id)?;
        let user_id = name("user_id", &intent.user_id)?;
        let conversation_id = LogId::from_wire(&intent.conversation_id).ok_or(InvalidIntent {
            field: "conversation_id",
            wrong: "must have 16 bytes",
        })?;
        let push = |device_id: String| {
            Ok(Self {
                push_id: push_id.clone(),
                user_id: user_id.clone(),
                device_id: name("device_ids", &device_id)?,
                conversation_id,
                seq: intent.seq,
                position: intent.position,
                count: intent.count,
                badge: intent.badge,
                mentioned: intent.mentioned,
            })
        };
        intent.device_ids.into_iter().map(push).collect()
    }
}

fn as_text<S: Serializer>(text: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> PushIntent {
        PushIntent {
            push_id: "p".into(),
            user_id: "ann".into(),
            device_ids: vec!["phone".into(), "tablet".into()],
            conversation_id: LogId::direct("ann", "bob").to_bytes(),
            ..PushIntent::default()
        }
    }

    #[test]
    fn each_device_has_its_push() {
        let pushes = Push::all_of(intent()).unwrap();
        let devices: Vec<_> = pushes.iter().map(|push| &*push.device_id).collect();
        assert_eq!(devices, ["phone", "tablet"]);
    }

    #[test]
    fn an_invalid_intent_names_its_field() {
        let wrong = |change: fn(&mut PushIntent)| {
            let mut intent = intent();
            change(&mut intent);
            Push::all_of(intent).unwrap_err().field
        };
        assert_eq!(wrong(|intent| intent.push_id.clear()), "push_id");
        assert_eq!(wrong(|intent| intent.user_id = "x".repeat(129)), "user_id");
        assert_eq!(
            wrong(|intent| intent.conversation_id.clear()),
            "conversation_id"
        );
        assert_eq!(
            wrong(|intent| intent.device_ids.push(String::new())),
            "device_ids"
        );
        assert_eq!(
            wrong(|intent| intent.device_ids = vec!["x".into(); DEVICES_MAX + 1]),
            "device_ids"
        );
    }
}
