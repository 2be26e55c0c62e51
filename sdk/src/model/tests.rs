//! The model against a plain count, and a view from a snapshot against one from the beginning.

use super::*;
use crate::text;
use heddle_proto::v1::{ConversationKind, MembershipAction, event};
use proptest::prelude::*;

const ROOM: [u8; 16] = [9; 16];

fn room() -> ConversationId {
    ConversationId::from_wire(&ROOM).unwrap()
}

fn erase(target_seq: u64) -> v1::Erase {
    v1::Erase {
        target_seq,
        ..Default::default()
    }
}

/// A conversation's log, and the mailbox of "me".
#[derive(Default)]
struct Log {
    seq: u64,
    ordinal: u64,
    position: u64,
    /// (seq, ordinal, sender is me, stands)
    messages: Vec<(u64, u64, bool, bool)>,
}

impl Log {
    fn event(&mut self, sender: &str, kind: event::Kind) -> v1::EventDelivery {
        self.seq += 1;
        self.position += 1;
        if matches!(kind, event::Kind::Message(_)) {
            self.ordinal += 1;
            self.messages
                .push((self.seq, self.ordinal, sender == "me", true));
        }
        v1::EventDelivery {
            cursor: Some(v1::Cursor {
                position: self.position,
                nonce: 1,
            }),
            event: Some(v1::Event {
                conversation_id: ROOM.to_vec().into(),
                seq: self.seq,
                ordinal: self.ordinal,
                sender: sender.into(),
                kind: Some(kind),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn created(&mut self) -> v1::EventDelivery {
        self.event(
            "you",
            event::Kind::Membership(v1::MembershipChange {
                action: MembershipAction::Created.into(),
                user_ids: vec!["me".into()],
                conversation_kind: ConversationKind::Group.into(),
                title: "room".into(),
                ..Default::default()
            }),
        )
    }

    fn state(&mut self, kind: state_change::Kind) -> v1::StateDelivery {
        self.position += 1;
        v1::StateDelivery {
            cursor: Some(v1::Cursor {
                position: self.position,
                nonce: 1,
            }),
            state: Some(v1::StateChange {
                kind: Some(kind),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn unread_after(&self, read: u64) -> u64 {
        let counts =
            |(seq, _, mine, stands): &&(u64, u64, bool, bool)| *seq > read && !mine && *stands;
        self.messages.iter().filter(counts).count() as u64
    }
}

#[test]
fn a_delivery_is_applied_once() {
    let (mut log, mut view) = (Log::default(), MailboxView::new("me"));
    assert!(view.apply_event(&log.created()));
    let said = log.event("you", event::Kind::Message(text("hello")));
    assert!(view.apply_event(&said));
    assert!(!view.apply_event(&said));
    let one = view.conversation(room()).unwrap();
    assert_eq!((one.title.as_str(), view.unread()), ("room", 1));
    assert_eq!(one.members.len(), 2);
}

#[test]
fn what_became_of_a_message_is_seen() {
    let (mut log, mut view) = (Log::default(), MailboxView::new("me"));
    view.apply_event(&log.created());
    view.apply_event(&log.event("you", event::Kind::Message(text("helo"))));
    let edit = v1::Edit {
        target_seq: 2,
        message: Some(text("hello")),
    };
    view.apply_event(&log.event("you", event::Kind::Edit(edit)));
    let reaction = |removed| v1::Reaction {
        target_seq: 2,
        key: "+1".into(),
        removed,
    };
    view.apply_event(&log.event("me", event::Kind::Reaction(reaction(false))));
    let message = &view.conversation(room()).unwrap().messages[&2];
    assert_eq!((&message.content, message.edit_seq), (&text("hello"), 3));
    assert_eq!(message.reactions.len(), 1);
    view.apply_event(&log.event("me", event::Kind::Reaction(reaction(true))));
    view.apply_event(&log.event("you", event::Kind::Erase(erase(2))));
    let message = &view.conversation(room()).unwrap().messages[&2];
    assert!(message.erased && message.reactions.is_empty());
    assert_ne!(message.content, text("hello"));
    assert_eq!(view.unread(), 0);
}

#[test]
fn who_leaves_has_nothing_unread_and_who_rejoins_starts_anew() {
    let (mut log, mut view) = (Log::default(), MailboxView::new("me"));
    view.apply_event(&log.created());
    view.apply_event(&log.event("you", event::Kind::Message(text("a"))));
    let left = v1::MembershipState {
        conversation_id: ROOM.to_vec().into(),
        since_seq: 1,
        until_seq: 3,
    };
    view.apply_state(&log.state(state_change::Kind::Membership(left)));
    assert_eq!(view.unread(), 0);
    log.seq = 10;
    log.ordinal = 7;
    let added = v1::MembershipChange {
        action: MembershipAction::Added.into(),
        user_ids: vec!["me".into()],
        ..Default::default()
    };
    view.apply_event(&log.event("you", event::Kind::Membership(added)));
    assert_eq!(view.unread(), 0);
    view.apply_event(&log.event("you", event::Kind::Message(text("b"))));
    assert_eq!(view.unread(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Say(bool),
    Erase(prop::sample::Index),
    Hide(prop::sample::Index),
    Read(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        3 => any::<bool>().prop_map(Step::Say),
        1 => any::<prop::sample::Index>().prop_map(Step::Erase),
        1 => any::<prop::sample::Index>().prop_map(Step::Hide),
        1 => any::<prop::sample::Index>().prop_map(Step::Read),
    ];
    prop::collection::vec(one, 0..80)
}

/// Applies a step to the log; what the mailbox carries of it, and the read mark.
fn step(log: &mut Log, step: Step, view: &mut MailboxView, read: &mut u64) {
    let pick = |log: &Log, index: prop::sample::Index| match log.messages.len() {
        0 => None,
        len => Some(index.index(len)),
    };
    match step {
        Step::Say(mine) => {
            let sender = if mine { "me" } else { "you" };
            view.apply_event(&log.event(sender, event::Kind::Message(text("x"))));
            if mine {
                *read = log.seq;
            }
        }
        Step::Erase(index) => {
            if let Some(at) = pick(log, index) {
                log.messages[at].3 = false;
                let target_seq = log.messages[at].0;
                let erase = event::Kind::Erase(erase(target_seq));
                view.apply_event(&log.event("you", erase));
            }
        }
        Step::Hide(index) => {
            if let Some(at) = pick(log, index) {
                log.messages[at].3 = false;
                let seqs = vec![log.messages[at].0];
                let conversation_id = ROOM.to_vec().into();
                let hidden = v1::HiddenState {
                    conversation_id,
                    seqs,
                };
                view.apply_state(&log.state(state_change::Kind::Hidden(hidden)));
            }
        }
        Step::Read(index) => {
            if let Some(at) = pick(log, index) {
                let (read_seq, read_ordinal, ..) = log.messages[at];
                *read = read_seq.max(*read);
                let mark = v1::MarkState {
                    conversation_id: ROOM.to_vec().into(),
                    user_id: "me".into(),
                    read_seq,
                    read_ordinal,
                    ..Default::default()
                };
                view.apply_state(&log.state(state_change::Kind::Mark(mark)));
            }
        }
    }
}

/// The list entry that a server would give for a view.
fn summary(view: &MailboxView) -> Snapshot {
    let one = view.conversation(room()).unwrap();
    Snapshot {
        conversations: vec![v1::ConversationSummary {
            conversation: Some(v1::Conversation {
                conversation_id: ROOM.to_vec().into(),
                title: one.title.clone(),
                kind: one.kind.into(),
                ..Default::default()
            }),
            last_seq: one.last_seq,
            last_ordinal: one.last_ordinal,
            read_seq: one.read_seq,
            read_ordinal: one.read_ordinal,
            unread_count: one.unread().count,
            membership: Some(v1::MembershipState {
                since_seq: one.since_seq,
                ..Default::default()
            }),
            ..Default::default()
        }],
        position: v1::Cursor {
            position: view.position(),
            nonce: 1,
        },
    }
}

proptest! {
    /// From the beginning, unread is exact; from a snapshot, it is exact or says that it is not.
    #[test]
    fn unread_is_a_plain_count(before in steps(), after in steps()) {
        let (mut log, mut read) = (Log::default(), 0);
        let mut view = MailboxView::new("me");
        view.apply_event(&log.created());
        for one in before {
            step(&mut log, one, &mut view, &mut read);
        }
        prop_assert_eq!(view.unread(), log.unread_after(read));
        let mut later = MailboxView::from_snapshot("me", &summary(&view));
        for one in after {
            let mut log_again = Log { messages: log.messages.clone(), ..log };
            let mut read_again = read;
            step(&mut log, one.clone(), &mut view, &mut read);
            step(&mut log_again, one, &mut later, &mut read_again);
        }
        prop_assert_eq!(view.unread(), log.unread_after(read));
        let unread = later.conversation(room()).unwrap().unread();
        if unread.is_exact {
            prop_assert_eq!(unread.count, log.unread_after(read));
        } else {
            prop_assert!(unread.count <= log.unread_after(read));
        }
    }
}
