//! Push: what one device is to be told. Made of an intent by `pipeline`, sent by providers.
//!
//! Invariant: of a message's text it holds the preview alone, which is in no log line and no
//! debug text, and which whoever keeps the push strips once its life is over.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use heddle_proto::ids::{LogId, NAME_BYTES_MAX};
use heddle_proto::internal::{PushDevice, PushIntent, PushKind};
use heddle_proto::v1::PushRegistration;
use heddle_proto::v1::push_registration::Target;
use heddle_proto::v1::{PushOutcome, PushResult};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::text::cut_chars;

/// Devices that one intent may name.
pub const DEVICES_MAX: usize = 1_000;
/// Registrations that one intent may name.
pub const REGISTRATIONS_MAX: usize = 8_000;
/// Characters of a title that are taken; what is longer is cut.
pub const TITLE_CHARS_MAX: usize = 200;
/// Characters of a sender's name that are taken; what is longer is cut.
pub const SENDER_CHARS_MAX: usize = 200;
/// Characters of a preview that are taken; what is longer is cut.
pub const PREVIEW_CHARS_MAX: usize = 1_000;
/// Bytes of a sound's name; a longer one counts as none.
pub const SOUND_BYTES_MAX: usize = 64;
/// Characters of a result's detail; what is longer is cut.
pub const DETAIL_CHARS_MAX: usize = 300;

/// What one device is to be told.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Push {
    /// What the device is to do; never `Unspecified`.
    #[serde(serialize_with = "as_label")]
    pub kind: PushKind,
    /// Names the intent for ever; the pushes of all its devices share it.
    #[serde(serialize_with = "as_text")]
    pub push_id: Arc<str>,
    /// Whose device.
    #[serde(serialize_with = "as_text")]
    pub user_id: Arc<str>,
    /// Which device.
    #[serde(serialize_with = "as_text")]
    pub device_id: Arc<str>,
    /// What pushes collapse by; zeros where only the badge changes.
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
    /// The sound to be played; empty: the platform's own.
    #[serde(serialize_with = "as_text")]
    pub sound: Arc<str>,
    /// The sender's name in a direct conversation, else the conversation's title; may be empty.
    #[serde(skip)]
    pub title: Arc<str>,
    /// Who sent the newest message.
    #[serde(skip)]
    pub sender_name: Arc<str>,
    /// The newest message's text, where this device is to show it. Never empty.
    #[serde(rename = "has_preview", serialize_with = "whether")]
    pub preview: Option<Arc<str>>,
    /// The preview must have left by then, or not at all. Set by the lane that takes the push.
    #[serde(skip)]
    pub leave_by: Option<Instant>,
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

    /// Its registration's name; empty where it goes to the log for want of one.
    pub fn registration_id(&self) -> &str {
        let registration = self.registration.as_deref();
        registration.map_or("", |it| it.registration_id.as_str())
    }

    /// Forgets the preview.
    pub fn strip_preview(&mut self) {
        self.preview = None;
        self.leave_by = None;
    }

    /// What it has come to at `provider`, after so many tries. `detail` holds no text of a message.
    pub fn result(
        &self,
        provider: &str,
        outcome: PushOutcome,
        detail: &str,
        tries: u32,
    ) -> PushResult {
        PushResult {
            device_id: self.device_id.to_string(),
            registration_id: self.registration_id().to_owned(),
            provider: provider.to_owned(),
            outcome: outcome.into(),
            detail: cut_chars(detail, DETAIL_CHARS_MAX).into_owned(),
            tries,
        }
    }

    /// The pushes of an intent: one for each registration of the devices that it names, and one
    /// for each of them that has none.
    pub fn all_of(intent: PushIntent) -> Result<Vec<Self>, InvalidIntent> {
        let devices = bounded(&intent)?;
        let sample = Self {
            kind: known(intent.kind)?,
            push_id: name("push_id", &intent.push_id)?,
            user_id: name("user_id", &intent.user_id)?,
            device_id: "".into(),
            conversation_id: LogId::from_wire(&intent.conversation_id).ok_or(InvalidIntent {
                field: "conversation_id",
                wrong: "must have 16 bytes",
            })?,
            seq: intent.seq,
            position: intent.position,
            count: intent.count,
            badge: intent.badge,
            mentioned: intent.mentioned,
            sound: "".into(),
            title: cut_chars(&intent.title, TITLE_CHARS_MAX).into(),
            sender_name: cut_chars(&intent.sender_name, SENDER_CHARS_MAX).into(),
            preview: None,
            leave_by: None,
            registration: None,
        };
        let preview = match sample.kind {
            PushKind::Message | PushKind::Update => cut_chars(&intent.preview, PREVIEW_CHARS_MAX),
            _ => "".into(),
        };
        let preview = Some(Arc::<str>::from(preview)).filter(|text| !text.is_empty());
        let mut pushes = Vec::with_capacity(devices);
        for device in intent.devices {
            pushes.extend(sample.for_device(device, &preview)?);
        }
        Ok(pushes)
    }

    /// The same, to each registration of a device.
    fn for_device(
        &self,
        device: PushDevice,
        preview: &Option<Arc<str>>,
    ) -> Result<Vec<Self>, InvalidIntent> {
        let sound = match device.sound.len() {
            0..=SOUND_BYTES_MAX => device.sound.as_str(),
            _ => "",
        };
        let own = Self {
            device_id: name("devices", &device.device_id)?,
            sound: sound.into(),
            preview: preview.clone().filter(|_| device.preview),
            ..self.clone()
        };
        if device.registrations.is_empty() {
            return Ok(vec![own]);
        }
        let registrations = device.registrations.into_iter().map(Arc::new);
        let to = |registration| Self {
            registration: Some(registration),
            ..own.clone()
        };
        Ok(registrations.map(to).collect())
    }
}

impl Debug for Push {
    /// Without texts and secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Push")
            .field("kind", &label(self.kind))
            .field("push_id", &self.push_id)
            .field("device_id", &self.device_id)
            .field("registration_id", &self.registration_id())
            .field("position", &self.position)
            .field("has_preview", &self.preview.is_some())
            .finish_non_exhaustive()
    }
}

/// How payloads and log lines name a kind.
pub fn label(kind: PushKind) -> &'static str {
    match kind {
        PushKind::Unspecified => "unspecified",
        PushKind::Message => "message",
        PushKind::Update => "update",
        PushKind::Clear => "clear",
        PushKind::Badge => "badge",
        PushKind::Test => "test",
    }
}

fn known(kind: i32) -> Result<PushKind, InvalidIntent> {
    match PushKind::try_from(kind) {
        Ok(PushKind::Unspecified) | Err(_) => Err(InvalidIntent {
            field: "kind",
            wrong: "is none that this process knows",
        }),
        Ok(kind) => Ok(kind),
    }
}

fn name(field: &'static str, name: &str) -> Result<Arc<str>, InvalidIntent> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(name.into()),
        _ => Err(InvalidIntent {
            field,
            wrong: "must have 1 to 128 bytes",
        }),
    }
}

/// How many devices an intent names, if no more than it may.
fn bounded(intent: &PushIntent) -> Result<usize, InvalidIntent> {
    let invalid = |wrong| InvalidIntent {
        field: "devices",
        wrong,
    };
    if intent.devices.len() > DEVICES_MAX {
        return Err(invalid("must be 1,000 at most"));
    }
    let registrations = intent.devices.iter().map(|it| it.registrations.len());
    if registrations.sum::<usize>() > REGISTRATIONS_MAX {
        return Err(invalid("must have 8,000 registrations at most"));
    }
    Ok(intent.devices.len())
}

fn as_text<S: Serializer>(text: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}

fn as_label<S: Serializer>(kind: &PushKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(label(*kind))
}

fn whether<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(text.is_some())
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
