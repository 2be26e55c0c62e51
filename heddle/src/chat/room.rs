//! What of a mailbox a person is shown, and how: names, lines, ticks.
//!
//! Pure: `super` feeds updates into the view first and asks here for the lines.

use crate::commands::show;
use heddle_sdk::model::{ConversationView, MailboxView};
use heddle_sdk::{ConversationId, v1};
use owo_colors::OwoColorize;
use std::collections::HashMap;

/// What a conversation is called: its title, or who else is there.
pub(super) fn name(conversation: &ConversationView, me: &str) -> String {
    if !conversation.title.is_empty() {
        return show::plain(&conversation.title);
    }
    let others: Vec<_> = others(conversation, me).collect();
    match others.is_empty() {
        true => conversation.id.to_string().chars().take(8).collect(),
        false => show::plain(&others.join(", ")),
    }
}

/// Everybody else there.
pub(super) fn others<'a>(
    conversation: &'a ConversationView,
    me: &'a str,
) -> impl Iterator<Item = &'a str> {
    let members = conversation.members.keys().map(String::as_str);
    members.filter(move |member| *member != me)
}

/// The conversations in the order of a list: most recently active first, those left out.
pub(super) fn listed(view: &MailboxView) -> Vec<&ConversationView> {
    let mut listed: Vec<_> = view.conversations().filter(|one| one.is_member()).collect();
    let active = |one: &ConversationView| one.last_message().map_or(0, |m| m.create_time_ms);
    listed.sort_by_key(|one| (std::cmp::Reverse(active(one)), one.id));
    listed
}

/// The conversation that a person means: a number of the list, a title, or another person.
pub(super) fn meant(view: &MailboxView, word: &str) -> Option<ConversationId> {
    let listed = listed(view);
    let number = word
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_sub(1));
    if let Some(one) = number.and_then(|at| listed.get(at)) {
        return Some(one.id);
    }
    let by_name = listed.iter().find(|one| name(one, view.user_id()) == word);
    by_name.map(|one| one.id)
}

/// A line of the list.
pub(super) fn list_line(number: usize, one: &ConversationView, me: &str, here: bool) -> String {
    let unread = match one.unread().count {
        0 => String::new(),
        count => format!(" ({count} new)").yellow().to_string(),
    };
    let mark = if here { "*" } else { " " };
    format!("{mark}{number:>3}  {}{unread}", name(one, me).bold())
}

/// An event as a line of the conversation that is open; `None`: nothing to show.
pub(super) fn line(event: &v1::Event, me: &str, numbers: bool) -> Option<String> {
    let time = show::clock(event.create_time.as_ref());
    let number = match numbers {
        true => format!("#{} ", event.seq),
        false => String::new(),
    };
    let time = format!("{time} {number}").dimmed().to_string();
    match show::current(event) {
        Some(text) => {
            let sender = show::plain(&event.sender);
            let sender = match event.sender == me {
                true => sender.green().to_string(),
                false => sender.cyan().to_string(),
            };
            Some(format!("{time}{sender}: {text}"))
        }
        None => show::event(event).map(|text| format!("{time}{}", format!("-- {text}").dimmed())),
    }
}

/// A message in a conversation that is not open.
pub(super) fn elsewhere(event: &v1::Event, conversation: &ConversationView, me: &str) -> String {
    let text = show::current(event).unwrap_or_default();
    let name = name(conversation, me);
    let line = match name == event.sender {
        true => format!("[{name}] {text}"),
        false => format!("[{name}] {}: {text}", show::plain(&event.sender)),
    };
    line.dimmed().to_string()
}

/// What others' marks say of one's own last message, each told once.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    told: HashMap<ConversationId, (u64, u64)>,
}

impl Ticks {
    /// What is known on entry needs no line.
    pub(super) fn forget(&mut self, conversation: &ConversationView, me: &str) {
        self.line(conversation, me);
    }

    /// The line to show after a mark moved: when everybody has received, or read, the last own
    /// message.
    pub(super) fn line(&mut self, conversation: &ConversationView, me: &str) -> Option<String> {
        let own = |message: &&heddle_sdk::model::MessageView| message.sender == me;
        let last = conversation.messages.values().rev().find(own)?.seq;
        let least = |seq: fn(&v1::MarkState) -> u64| {
            let mark = |other: &str| conversation.marks.get(other).map_or(0, seq);
            others(conversation, me).map(mark).min().unwrap_or(0)
        };
        let is_read = least(|mark| mark.read_seq) >= last;
        let is_delivered = least(|mark| mark.delivered_seq) >= last;
        let (delivered, read) = self.told.entry(conversation.id).or_default();
        let who = match others(conversation, me).count() {
            1 => name(conversation, me),
            _ => "all".to_owned(),
        };
        if is_read && *read < last {
            (*read, *delivered) = (last, last);
            Some(format!(
                "        {} {}",
                "✓✓".blue(),
                format!("read by {who}").dimmed()
            ))
        } else if is_delivered && *delivered < last {
            *delivered = last;
            Some(
                format!("        ✓✓ delivered to {who}")
                    .dimmed()
                    .to_string(),
            )
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_sdk::model::MessageView;

    fn direct() -> ConversationView {
        let mut one = ConversationView::new(ConversationId::direct("me", "bob"));
        for member in ["me", "bob"] {
            one.members.insert(member.into(), v1::Role::Member);
        }
        one
    }

    fn say(one: &mut ConversationView, seq: u64) {
        let message = MessageView {
            seq,
            ordinal: seq,
            sender: "me".into(),
            client_message_id: Default::default(),
            create_time_ms: 0,
            content: heddle_sdk::text("x"),
            edit_seq: 0,
            erased: false,
            hidden: false,
            reactions: Default::default(),
        };
        one.messages.insert(seq, message);
    }

    #[test]
    fn a_direct_conversation_is_called_by_the_other() {
        assert_eq!(name(&direct(), "me"), "bob");
    }

    #[test]
    fn each_tick_is_told_once() {
        let (mut one, mut ticks) = (direct(), Ticks::default());
        say(&mut one, 2);
        assert_eq!(ticks.line(&one, "me"), None);
        let mark = |delivered_seq, read_seq| v1::MarkState {
            delivered_seq,
            read_seq,
            ..Default::default()
        };
        one.marks.insert("bob".into(), mark(2, 0));
        assert!(ticks.line(&one, "me").unwrap().contains("delivered to bob"));
        assert_eq!(ticks.line(&one, "me"), None);
        one.marks.insert("bob".into(), mark(2, 2));
        assert!(ticks.line(&one, "me").unwrap().contains("read by bob"));
        say(&mut one, 3);
        assert_eq!(ticks.line(&one, "me"), None);
    }
}
