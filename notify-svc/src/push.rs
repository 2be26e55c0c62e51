//! Push: what one device is to be told. Made of an intent by `pipeline`, sent by providers.
//!
//! Invariant: holds no message body, so that none can be logged, kept or sent after an erasure.

use std::fmt::Display;
use std::sync::Arc;

use heddle_proto::ids::{LogId, NAME_BYTES_MAX};
use heddle_proto::internal::{DeadRegistration, PushIntent};
use heddle_proto::v1::PushRegistration;
use heddle_proto::v1::push_registration::Target;
use serde::{Serialize, Serializer};

/// Devices that one intent may name.
pub const DEVICES_MAX: usize = 1_000;
/// Registrations that one intent may name.
pub const REGISTRATIONS_MAX: usize = 8_000;

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
    /// Where it goes; none: to the log. Holds secrets.
    #[serde(skip)]
    pub registration: Option<Arc<PushRegistration>>,
}

/// An intent that can never become a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {wrong}; this is an error of the shard that sent the intent")]
pub struct InvalidIntent {
    pub field: &'static str,
    pub wrong: &'static str,
}

impl Push {
    /// The target of its registration.
    pub fn target(&self) -> Option<&Target> {
        self.registration.as_deref()?.target.as_ref()
    }

    /// Its registration's name, to have it removed.
    pub fn dead_registration(&self) -> Option<DeadRegistration> {
        let registration = self.registration.as_deref()?;
        Some(DeadRegistration {
            device_id: registration.device_id.clone(),
            registration_id: registration.registration_id.clone(),
        })
    }

    /// The pushes of an intent: one for each registration of the devices that it names, and one
    /// for each of them that has none.
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
        if intent.registrations.len() > REGISTRATIONS_MAX {
            return Err(InvalidIntent {
                field: "registrations",
                wrong: "must be 8,000 at most",
            });
        }
        let push_id = name("push_id", &intent.push_id)?;
        let user_id = name("user_id", &intent.user_id)?;
        let conversation_id = LogId::from_wire(&intent.conversation_id).ok_or(InvalidIntent {
            field: "conversation_id",
            wrong: "must have 16 bytes",
        })?;
        let push = |device_id: String, registration: Option<Arc<PushRegistration>>| {
            Ok(Self {
                registration,
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
        let mut pushes = Vec::with_capacity(intent.device_ids.len());
        for device_id in intent.device_ids {
            let own = |it: &&PushRegistration| it.device_id == device_id;
            let mut own = intent.registrations.iter().filter(own).peekable();
            if own.peek().is_none() {
                pushes.push(push(device_id, None)?);
                continue;
            }
            for registration in own {
                let registration = Some(Arc::new(registration.clone()));
                pushes.push(push(device_id.clone(), registration)?);
            }
        }
        Ok(pushes)
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
    fn each_registration_has_its_push() {
        let mut intent = intent();
        let registration = |id: &str| PushRegistration {
            device_id: "phone".into(),
            registration_id: id.into(),
            ..Default::default()
        };
        intent.registrations = vec![registration("a"), registration("b")];
        let pushes = Push::all_of(intent).unwrap();
        let id = |push: &Push| push.dead_registration().map(|dead| dead.registration_id);
        let told: Vec<_> = pushes.iter().map(|it| (&*it.device_id, id(it))).collect();
        let expected = [
            ("phone", Some("a".into())),
            ("phone", Some("b".into())),
            ("tablet", None),
        ];
        assert_eq!(told, expected);
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
