//! What the API says, as the checker knows it.
//!
//! Invariant: nothing is made up: a body that is not shown is one of the reserved values.

use bytes::Bytes;
use heddle_proto::v1::{self, MembershipAction, event, message::Content};
use prost::Message as _;

use super::Shared;
use crate::checker::{self, BODY_ERASED, BODY_OVERLAID, History, Kind, body_hash, reaction_hash};

/// The hash of what a message says.
pub fn body(message: Option<&v1::Message>) -> u64 {
    match message.and_then(|message| message.content.as_ref()) {
        Some(Content::Text(text)) => body_hash(text.as_bytes()),
        None | Some(Content::Erased(_)) => BODY_ERASED,
        Some(_) => body_hash(&message.map(v1::Message::encode_to_vec).unwrap_or_default()),
    }
}

/// A client_message_id as a number; 0 for none.
pub fn id(bytes: &Bytes) -> u128 {
    bytes.as_ref().try_into().map_or(0, u128::from_be_bytes)
}

/// An event; none for one without content. What the world does not have is elsewhere, and by
/// somebody else: who sees it is a stranger there.
pub fn event(shared: &Shared, event: &v1::Event) -> Option<checker::Event> {
    let group = shared.group(&event.conversation_id);
    let conversation = group.unwrap_or(shared.groups.len()) as u32;
    let sender = shared.user(&event.sender);
    let sender = sender.unwrap_or(shared.ids.len() as u32);
    let overlay = event.overlay.as_ref();
    let (kind, target, body) = match event.kind.as_ref()? {
        event::Kind::Message(message) => {
            let shown = match body(Some(message)) {
                _ if overlay.is_some_and(|overlay| overlay.erased) => BODY_ERASED,
                BODY_ERASED if overlay.is_some_and(|overlay| overlay.edit_seq > 0) => BODY_OVERLAID,
                body => body,
            };
            (Kind::Message, 0, shown)
        }
        event::Kind::Edit(edit) => (Kind::Edit, edit.target_seq, body(edit.message.as_ref())),
        event::Kind::Erase(erase) => (Kind::Erase, erase.target_seq, BODY_ERASED),
        event::Kind::Reaction(reaction) => {
            let kind = if reaction.removed {
                Kind::Unreact
            } else {
                Kind::React
            };
            (
                kind,
                reaction.target_seq,
                body_hash(reaction.key.as_bytes()),
            )
        }
        _ => (Kind::System, 0, BODY_ERASED),
    };
    Some(checker::Event {
        conversation,
        sender,
        kind,
        seq: event.seq,
        target,
        body,
        // Membership changes are made by calls that mint ids of their own.
        id: match kind {
            Kind::System => 0,
            _ => id(&event.client_message_id),
        },
    })
}

/// A message as history shows it in the end; none for other events.
pub fn state(shared: &Shared, event: &v1::Event) -> Option<checker::MessageState> {
    let Some(event::Kind::Message(message)) = &event.kind else {
        return None;
    };
    let overlay = event.overlay.clone().unwrap_or_default();
    let shown = match (overlay.erased, overlay.edit_seq) {
        (true, _) => BODY_ERASED,
        (false, 0) => body(Some(message)),
        (false, _) => body(overlay.edited.as_ref()),
    };
    let reactions = overlay.reactions.iter().filter_map(|reaction| {
        Some((
            shared.user(&reaction.user_id)?,
            body_hash(reaction.key.as_bytes()),
        ))
    });
    Some(checker::MessageState {
        seq: event.seq,
        body: shown,
        reactions: reaction_hash(reactions),
    })
}

/// Who may see which seqs, from a log's own membership events.
pub fn windows(shared: &Shared, group: usize, events: &[v1::Event], history: &mut History) {
    let mut open: std::collections::BTreeMap<u32, u64> = Default::default();
    let group = group as u32;
    for event in events {
        let Some(event::Kind::Membership(change)) = &event.kind else {
            continue;
        };
        let mut who: Vec<&str> = change.user_ids.iter().map(String::as_str).collect();
        if who.is_empty() {
            who.push(&event.sender);
        }
        for user in who.into_iter().filter_map(|id| shared.user(id)) {
            match change.action() {
                MembershipAction::Created | MembershipAction::Added => {
                    open.entry(user).or_insert(event.seq);
                }
                MembershipAction::Left | MembershipAction::Removed => {
                    if let Some(since) = open.remove(&user) {
                        history.member(user, group, since, Some(event.seq));
                    }
                }
                _ => {}
            }
        }
    }
    open.into_iter()
        .for_each(|(user, since)| history.member(user, group, since, None));
}
