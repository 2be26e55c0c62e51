//! Events, states and people, as lines for people and as JSON for machines.
//!
//! Invariant: what others wrote never controls the terminal: control characters are shown, not
//! sent.

use heddle_sdk::{ConversationId, v1};
use serde_json::{Value, json};
use v1::event::Kind;
use v1::message::Content;

/// A text without control characters, safe for a terminal; newlines become `⏎`.
pub fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '⏎',
        c if c.is_control() => '\u{fffd}',
        // Would turn the direction of the rest of the line.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// `HH:MM`, in UTC.
pub fn clock(time: Option<&prost_types::Timestamp>) -> String {
    let seconds = time.map_or(0, |time| time.seconds.rem_euclid(86_400));
    format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

/// What a message says.
pub fn message(message: &v1::Message) -> String {
    let text = match &message.content {
        Some(Content::Text(text)) => text.clone(),
        Some(Content::Media(media)) => format!("[{}] {}", media.mime_type, media.caption),
        Some(Content::Erased(_)) => "(deleted)".to_owned(),
        Some(Content::Encrypted(_)) => "(encrypted)".to_owned(),
        Some(Content::Custom(custom)) if message.fallback_text.is_empty() => {
            format!("[{}]", custom.r#type)
        }
        Some(Content::System(system)) if message.fallback_text.is_empty() => {
            format!("[{}]", system.r#type)
        }
        _ => message.fallback_text.clone(),
    };
    plain(&text)
}

/// What a message says now, with what became of it.
pub fn current(event: &v1::Event) -> Option<String> {
    let Some(Kind::Message(original)) = &event.kind else {
        return None;
    };
    let Some(overlay) = &event.overlay else {
        return Some(message(original));
    };
    if overlay.erased {
        return Some("(deleted)".to_owned());
    }
    let mut text = match &overlay.edited {
        Some(edited) => format!("{} (edited)", message(edited)),
        None => message(original),
    };
    for reaction in &overlay.reactions {
        text.push_str(&format!(
            " [{} {}]",
            plain(&reaction.key),
            plain(&reaction.user_id)
        ));
    }
    Some(text)
}

/// An event as one line, without its time; `None` for kinds newer than this program.
pub fn event(event: &v1::Event) -> Option<String> {
    let sender = plain(&event.sender);
    Some(match event.kind.as_ref()? {
        Kind::Message(_) => format!("{sender}: {}", current(event)?),
        Kind::Edit(edit) => {
            let text = edit.message.as_ref().map(message).unwrap_or_default();
            format!("{sender} changed #{} to: {text}", edit.target_seq)
        }
        Kind::Erase(erase) => format!("{sender} deleted #{}", erase.target_seq),
        Kind::Reaction(reaction) => {
            let verb = if reaction.removed {
                "took back"
            } else {
                "gave"
            };
            format!(
                "{sender} {verb} {} on #{}",
                plain(&reaction.key),
                reaction.target_seq
            )
        }
        Kind::Membership(change) => membership(&sender, change),
        Kind::Settings(settings) => format!("{sender} named it \"{}\"", plain(&settings.title)),
    })
}

fn membership(sender: &str, change: &v1::MembershipChange) -> String {
    let people = plain(&change.user_ids.join(", "));
    match change.action() {
        v1::MembershipAction::Created => {
            let others: Vec<_> = change.user_ids.iter().map(|one| plain(one)).collect();
            let others: Vec<_> = others.into_iter().filter(|one| one != sender).collect();
            format!("{sender} began it with {}", others.join(", "))
        }
        v1::MembershipAction::Added => format!("{sender} added {people}"),
        v1::MembershipAction::Removed => format!("{sender} removed {people}"),
        v1::MembershipAction::Left => format!("{sender} left"),
        v1::MembershipAction::RoleSet => {
            let role = change.role().as_str_name().trim_start_matches("ROLE_");
            format!("{sender} made {people} {}", role.to_lowercase())
        }
        v1::MembershipAction::Unspecified => format!("{sender} changed the members"),
    }
}

/// An id as people see it.
pub fn id(bytes: &[u8]) -> String {
    ConversationId::from_wire(bytes).map_or_else(|| "?".to_owned(), |id| id.to_string())
}

/// An event for machines.
pub fn event_json(event: &v1::Event) -> Value {
    let text = current(event).or_else(|| self::event(event));
    let kind = match &event.kind {
        Some(Kind::Message(_)) => "message",
        Some(Kind::Edit(_)) => "edit",
        Some(Kind::Erase(_)) => "erase",
        Some(Kind::Reaction(_)) => "reaction",
        Some(Kind::Membership(_)) => "membership",
        Some(Kind::Settings(_)) => "settings",
        None => "unknown",
    };
    let mut value = json!({
        "conversation_id": id(&event.conversation_id),
        "seq": event.seq,
        "ordinal": event.ordinal,
        "create_time_ms": millis(event.create_time.as_ref()),
        "sender": event.sender,
        "kind": kind,
        "text": raw_text(event).or(text),
    });
    if let Some(target) = target(event) {
        value["target_seq"] = target.into();
    }
    value
}

/// The text to the byte, where there is one.
fn raw_text(event: &v1::Event) -> Option<String> {
    let edited = event
        .overlay
        .as_ref()
        .and_then(|overlay| overlay.edited.as_ref());
    let message = match event.kind.as_ref()? {
        Kind::Message(message) => edited.unwrap_or(message),
        Kind::Edit(edit) => edit.message.as_ref()?,
        _ => return None,
    };
    match message.content.as_ref()? {
        Content::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn target(event: &v1::Event) -> Option<u64> {
    match event.kind.as_ref()? {
        Kind::Edit(edit) => Some(edit.target_seq),
        Kind::Erase(erase) => Some(erase.target_seq),
        Kind::Reaction(reaction) => Some(reaction.target_seq),
        _ => None,
    }
}

/// Milliseconds since the Unix epoch.
pub fn millis(time: Option<&prost_types::Timestamp>) -> u64 {
    time.map_or(0, heddle_proto::time::millis)
}

/// A change of the user's own state, for machines.
pub fn state_json(state: &v1::StateChange) -> Value {
    use v1::state_change::Kind;
    match &state.kind {
        Some(Kind::Mark(mark)) => json!({
            "mark": {
                "conversation_id": id(&mark.conversation_id),
                "user_id": mark.user_id,
                "delivered_seq": mark.delivered_seq,
                "read_seq": mark.read_seq,
            }
        }),
        Some(Kind::Membership(membership)) => json!({
            "membership": {
                "conversation_id": id(&membership.conversation_id),
                "since_seq": membership.since_seq,
                "until_seq": membership.until_seq,
            }
        }),
        Some(Kind::Settings(settings)) => json!({
            "settings": {
                "conversation_id": id(&settings.conversation_id),
                "muted_until_ms": millis(settings.muted_until_time.as_ref()),
                "pinned": settings.pinned,
            }
        }),
        Some(Kind::Hidden(hidden)) => json!({
            "hidden": {"conversation_id": id(&hidden.conversation_id), "seqs": hidden.seqs}
        }),
        None => json!({"unknown": true}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_controls_the_terminal_of_another() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\nd"), "a\u{fffd}[2Jb\u{fffd}c⏎d");
    }

    #[test]
    fn a_deleted_message_shows_nothing_of_itself() {
        let event = v1::Event {
            kind: Some(Kind::Message(heddle_sdk::text("secret"))),
            overlay: Some(v1::EventOverlay {
                erased: true,
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(current(&event).as_deref(), Some("(deleted)"));
    }
}
