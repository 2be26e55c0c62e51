//! Events: from an accepted command to the stored bytes, and from stored bytes to a fan-out.
//!
//! Both directions live here so that a take-over, which only has the log, fans out exactly what
//! the first owner would have.
//!
//! Invariant: the bytes made here are `heddle.v1.Event`; content passes through undecoded.

use bytes::Bytes;
use heddle_proto::{
    ERASED_MESSAGE, fingerprint,
    ids::LogId,
    internal::{AppendCommand, EditAppend, FanOutEvent, PointerKind, RawEvent, raw_event::Kind},
    time,
    v1::{self, MembershipAction},
};
use prost::Message as _;

/// Who sends, through which device, under which id, and when.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The device; may be empty.
    pub device_id: &'a str,
    /// The idempotency key.
    pub client_message_id: &'a Bytes,
    /// The server's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// An event ready to be stored.
pub fn compose(log: &LogId, seq: u64, ordinal: u64, origin: Origin<'_>, kind: Kind) -> RawEvent {
    RawEvent {
        conversation_id: log.to_bytes(),
        seq,
        ordinal,
        create_time: Some(time::timestamp(origin.time_ms)),
        sender: origin.user_id.to_owned(),
        sender_device_id: origin.device_id.to_owned(),
        client_message_id: origin.client_message_id.clone(),
        kind: Some(kind),
        overlay: Bytes::new(),
    }
}

/// Tells the same body of the same sender from another under the same id.
pub fn body_fingerprint(sender: &str, kind: &Kind) -> u64 {
    let body = match kind {
        Kind::Message(message) => fingerprint::message(1, message),
        Kind::Edit(edit) => fingerprint::message(2, &edit.message) ^ edit.target_seq,
        // The target alone: the rest of an erasure is filled in by the server.
        Kind::Erase(erase) => fingerprint::opaque(3, &erase.target_seq.to_be_bytes()),
        Kind::Reaction(reaction) => fingerprint::opaque(4, &reaction.encode_to_vec()),
        // Who leaves is filled in by the server.
        Kind::Membership(change) if change.action() == MembershipAction::Left => 5,
        Kind::Membership(change) => fingerprint::opaque(5, &change.encode_to_vec()),
        Kind::Settings(settings) => fingerprint::opaque(6, &settings.encode_to_vec()),
    };
    body ^ fingerprint::opaque(7, sender.as_bytes())
}

/// What [`body_fingerprint`] says of the same once its body is erased; `None`: it has none that
/// could be. Nothing that would tell an erased body from another is kept (P10), so that a retry of
/// what was erased meanwhile is known by all the rest.
pub fn erased_fingerprint(sender: &str, kind: &Kind) -> Option<u64> {
    let message = Bytes::from_static(&ERASED_MESSAGE);
    let erased = match kind {
        Kind::Message(_) => Kind::Message(message),
        Kind::Edit(edit) => Kind::Edit(EditAppend {
            message,
            ..edit.clone()
        }),
        _ => return None,
    };
    Some(body_fingerprint(sender, &erased))
}

/// When an event was stored, in milliseconds since the Unix epoch.
pub fn time_ms(event: &RawEvent) -> u64 {
    event.create_time.as_ref().map_or(0, time::millis)
}

/// Whom a message mentions; `None` stands for everybody.
pub fn mentions(message: &[u8]) -> (bool, Vec<String>) {
    let Ok(message) = v1::Message::decode(message) else {
        return (false, Vec::new());
    };
    let everybody = message
        .mentions
        .iter()
        .any(|mention| mention.user_id.is_empty());
    let users = message.mentions.into_iter().map(|mention| mention.user_id);
    (
        everybody,
        users.filter(|user_id| !user_id.is_empty()).collect(),
    )
}

/// What mailboxes need of a stored event.
pub fn fan_out(event: &RawEvent, bytes: Bytes) -> FanOutEvent {
    let mut due = FanOutEvent {
        event: bytes,
        seq: event.seq,
        ordinal: event.ordinal,
        time_ms: time_ms(event),
        kind: PointerKind::Other as i32,
        sender: event.sender.clone(),
        ..Default::default()
    };
    match &event.kind {
        Some(Kind::Message(message)) => {
            due.kind = PointerKind::Message as i32;
            (due.mentions_all, due.mentioned_user_ids) = mentions(message);
        }
        Some(Kind::Erase(erase)) => {
            due.kind = PointerKind::Erase as i32;
            due.target_seq = erase.target_seq;
            due.target_ordinal = erase.target_ordinal;
            due.target_sender = erase.target_sender.clone();
        }
        _ => {}
    }
    due
}

/// The same for a message that has just been accepted: the gateway has decoded it already, so its
/// mentions are not read again.
pub fn fan_out_of_message(event: &RawEvent, bytes: Bytes, command: &AppendCommand) -> FanOutEvent {
    FanOutEvent {
        event: bytes,
        seq: event.seq,
        ordinal: event.ordinal,
        time_ms: time_ms(event),
        kind: PointerKind::Message as i32,
        sender: event.sender.clone(),
        mentions_all: command.mentions_all,
        mentioned_user_ids: command.mentioned_user_ids.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_read_from_the_stored_bytes() {
        let mention = |user: &str| v1::Mention {
            user_id: user.into(),
            start: 0,
            length: 1,
        };
        let message = v1::Message {
            mentions: vec![mention("bob"), mention("")],
            ..Default::default()
        };
        assert_eq!(
            mentions(&message.encode_to_vec()),
            (true, vec!["bob".to_owned()])
        );
    }
}
