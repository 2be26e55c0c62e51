//! The conversation's promises, on the pure state: order, once, membership, predecessor.

use super::*;
use bytes::Bytes;
use heddle_proto::{
    ERASED_MESSAGE,
    errors::Fault,
    ids::MessageId,
    internal::{AppendCommand, EditAppend, MarkCommand, RawEvent, append_command::Kind, raw_event},
    v1::{self, ErrorReason, MembershipAction, MembershipChange, Role},
};
use proptest::prelude::*;
use prost::Message as _;

const NOW_MS: u64 = 1_000_000;

fn id(number: u64) -> Bytes {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    MessageId::mint(NOW_MS, &random).to_bytes()
}

fn said(text: &str) -> Kind {
    let content = Some(v1::message::Content::Text(text.into()));
    Kind::Message(
        v1::Message {
            content,
            ..Default::default()
        }
        .encode_to_vec()
        .into(),
    )
}

fn command(number: u64, kind: Kind) -> AppendCommand {
    AppendCommand {
        client_message_id: id(number),
        kind: Some(kind),
        ..Default::default()
    }
}

fn change(action: MembershipAction, user_ids: &[&str]) -> MembershipChange {
    let user_ids = user_ids.iter().map(|user_id| user_id.to_string()).collect();
    MembershipChange {
        action: action as i32,
        user_ids,
        ..Default::default()
    }
}

fn group(people: &[&str]) -> Conversation {
    let mut created = change(MembershipAction::Created, people);
    created.conversation_kind = v1::ConversationKind::Group as i32;
    let mut conversation = Conversation::unborn(LogId::group(people[0], &id(0)));
    let command = command(0, Kind::Membership(created));
    conversation
        .append(people[0], "phone", &command, NOW_MS, 100)
        .unwrap();
    conversation
}

fn append(on: &mut Conversation, who: &str, command: &AppendCommand) -> Result<Decision, Fault> {
    on.append(who, "phone", command, NOW_MS, 100)
}

/// The same as it is stored.
fn raw_event_kind(kind: Kind) -> Option<raw_event::Kind> {
    match kind {
        Kind::Message(message) => Some(raw_event::Kind::Message(message)),
        Kind::Edit(edit) => Some(raw_event::Kind::Edit(edit)),
        _ => None,
    }
}

fn seq(decision: Result<Decision, Fault>) -> u64 {
    match decision.unwrap() {
        Decision::Append(appended) => appended.result.seq,
        Decision::Answer(result) => result.seq,
        Decision::Needs(needs) => panic!("needs {needs:?}"),
    }
}

fn reason(decision: Result<Decision, Fault>) -> ErrorReason {
    decision.expect_err("must be refused").reason
}

#[test]
fn seqs_follow_one_another_and_only_messages_count() {
    let mut talk = group(&["alice", "bob"]);
    assert_eq!(seq(append(&mut talk, "alice", &command(1, said("a")))), 2);
    let react = v1::Reaction {
        target_seq: 2,
        key: "+1".into(),
        removed: false,
    };
    assert_eq!(
        seq(append(&mut talk, "bob", &command(2, Kind::Reaction(react)))),
        3
    );
    assert_eq!(talk.ordinal_at(3), Some(1));
}

#[test]
fn a_retry_gets_the_first_answer_and_another_body_is_refused() {
    let mut talk = group(&["alice", "bob"]);
    let first = command(1, said("a"));
    assert_eq!(seq(append(&mut talk, "alice", &first)), 2);
    assert_eq!(seq(append(&mut talk, "alice", &first)), 2);
    assert_eq!(
        reason(append(&mut talk, "alice", &command(1, said("b")))),
        ErrorReason::IdReused
    );
    assert_eq!(
        reason(append(&mut talk, "bob", &first)),
        ErrorReason::IdReused
    );
    assert_eq!(talk.head_seq(), 2);
}

/// The next owner reads a log from which bodies were taken; what it retries is known all the same.
#[test]
fn a_retry_of_what_was_erased_meanwhile_gets_the_first_answer() {
    let message = Bytes::from_static(&ERASED_MESSAGE);
    let edit = |message: &Bytes| {
        let message = message.clone();
        Kind::Edit(EditAppend {
            target_seq: 2,
            message,
        })
    };
    let Kind::Message(words) = said("b") else {
        unreachable!()
    };
    for (kind, blank) in [
        (said("a"), Kind::Message(message.clone())),
        (edit(&words), edit(&message)),
    ] {
        let mut talk = group(&["alice", "bob"]);
        append(&mut talk, "alice", &command(1, said("first"))).unwrap();
        let retried = command(2, kind);
        let Ok(Decision::Append(stored)) = append(&mut talk, "alice", &retried) else {
            panic!("fresh")
        };
        let mut event = RawEvent::decode(stored.event).unwrap();
        event.kind = raw_event_kind(blank);
        let loaded = Loaded {
            row: Some(talk.row.clone()),
            members: talk.roster.members().map(|(row, _)| row.clone()).collect(),
            events: vec![event],
        };
        let mut next = Conversation::load(talk.id, loaded);
        assert_eq!(seq(append(&mut next, "alice", &retried)), 3);
        let others = append(&mut next, "bob", &retried);
        assert_eq!(reason(others), ErrorReason::IdReused);
        let react = v1::Reaction::default();
        let another = append(&mut next, "alice", &command(2, Kind::Reaction(react)));
        assert_eq!(reason(another), ErrorReason::IdReused);
    }
}

#[test]
fn a_send_waits_for_its_predecessor() {
    let mut talk = group(&["alice", "bob"]);
    let second = AppendCommand {
        predecessor_id: id(1),
        ..command(2, said("b"))
    };
    assert_eq!(
        reason(append(&mut talk, "alice", &second)),
        ErrorReason::PredecessorFailed
    );
    append(&mut talk, "alice", &command(1, said("a"))).unwrap();
    assert_eq!(seq(append(&mut talk, "alice", &second)), 3);
}

#[test]
fn strangers_and_former_members_find_nothing() {
    let mut talk = group(&["alice", "bob"]);
    assert_eq!(
        reason(append(&mut talk, "mallory", &command(1, said("a")))),
        ErrorReason::NotFound
    );
    let removed = Kind::Membership(change(MembershipAction::Removed, &["bob"]));
    assert_eq!(seq(append(&mut talk, "alice", &command(2, removed))), 2);
    assert_eq!(
        reason(append(&mut talk, "bob", &command(3, said("a")))),
        ErrorReason::NotFound
    );
    let mark = MarkCommand {
        delivered_seq: 0,
        read_seq: 1,
    };
    assert_eq!(
        talk.mark("bob", &mark).unwrap_err().reason,
        ErrorReason::NotFound
    );
}

#[test]
fn only_the_sender_edits_and_an_erasure_takes_all_edits_along() {
    let mut talk = group(&["alice", "bob"]);
    append(&mut talk, "bob", &command(1, said("a"))).unwrap();
    let Kind::Message(message) = said("b") else {
        unreachable!()
    };
    let edit = Kind::Edit(EditAppend {
        target_seq: 2,
        message,
    });
    let refused = append(&mut talk, "alice", &command(2, edit.clone()));
    assert_eq!(reason(refused), ErrorReason::RoleRequired);
    assert_eq!(seq(append(&mut talk, "bob", &command(3, edit))), 3);
    let erase = Kind::Erase(v1::Erase {
        target_seq: 2,
        ..Default::default()
    });
    let Decision::Append(erased) = append(&mut talk, "alice", &command(4, erase)).unwrap() else {
        panic!("an owner may erase")
    };
    let blanked: Vec<_> = erased.blanks.iter().map(|blank| blank.seq).collect();
    assert_eq!(blanked, [3, 2]);
    assert_eq!(
        (
            erased.fan_out.target_ordinal,
            erased.fan_out.target_sender.as_str()
        ),
        (1, "bob")
    );
}

/// What an erasure writes takes the place of every row that holds a body, an edit's included.
#[test]
fn an_erasure_leaves_no_row_with_a_body() {
    let mut talk = group(&["alice", "bob"]);
    append(&mut talk, "bob", &command(1, said("a"))).unwrap();
    let Kind::Message(message) = said("an edited body") else {
        unreachable!()
    };
    let edit = EditAppend {
        target_seq: 2,
        message: message.clone(),
    };
    let erase = v1::Erase {
        target_seq: 2,
        ..Default::default()
    };
    let mut rows = std::collections::HashMap::new();
    for (number, kind) in [(2, Kind::Edit(edit)), (3, Kind::Erase(erase))] {
        let Ok(Decision::Append(appended)) = append(&mut talk, "bob", &command(number, kind))
        else {
            panic!("allowed")
        };
        let cells = appended.cells.into_iter();
        rows.extend(cells.map(|cell| ((cell.table, cell.partition, cell.clustering), cell.value)));
    }
    let holds = |value: &Bytes| value.windows(message.len()).any(|part| part == message);
    assert!(!rows.is_empty() && !rows.values().any(holds), "{rows:?}");
}

#[test]
fn a_full_group_says_which_limit() {
    let mut talk = group(&["alice", "bob"]);
    let added = Kind::Membership(change(MembershipAction::Added, &["carol", "dave"]));
    let fault = talk
        .append("alice", "", &command(1, added), NOW_MS, 3)
        .unwrap_err();
    assert_eq!(fault.reason, ErrorReason::GroupFull);
    assert!(fault.message.contains("limits.group_members_max"));
    assert_eq!(talk.head_seq(), 1);
}

#[test]
fn the_last_owner_stays_while_others_do() {
    let mut talk = group(&["alice", "bob"]);
    let left = || Kind::Membership(change(MembershipAction::Left, &[]));
    assert_eq!(
        reason(append(&mut talk, "alice", &command(1, left()))),
        ErrorReason::RoleRequired
    );
    let mut owner = change(MembershipAction::RoleSet, &["bob"]);
    owner.role = Role::Owner as i32;
    append(&mut talk, "alice", &command(2, Kind::Membership(owner))).unwrap();
    assert_eq!(seq(append(&mut talk, "alice", &command(3, left()))), 3);
}

#[test]
fn marks_never_go_back_and_own_messages_are_read() {
    let mut talk = group(&["alice", "bob"]);
    append(&mut talk, "alice", &command(1, said("a"))).unwrap();
    append(&mut talk, "alice", &command(2, said("b"))).unwrap();
    let report = |delivered_seq, read_seq| MarkCommand {
        delivered_seq,
        read_seq,
    };
    assert_eq!(talk.mark("bob", &report(3, 0)), Ok(marks::Moved::Delivered));
    assert_eq!(talk.mark("bob", &report(0, 2)), Ok(marks::Moved::Read));
    assert_eq!(talk.mark("bob", &report(1, 1)), Ok(marks::Moved::Not));
    assert_eq!(talk.mark("alice", &report(3, 3)), Ok(marks::Moved::Not));
    assert_eq!(
        talk.mark("bob", &report(9, 0)).unwrap_err().field,
        "delivered_seq"
    );
}

/// Rows of members are stored a moment late; what they lack of one's own messages is in the log.
#[test]
fn a_senders_own_mark_is_redone_from_the_log() {
    let mut talk = group(&["alice", "bob"]);
    let stored: Vec<_> = talk.roster.members().map(|(row, _)| row.clone()).collect();
    let Ok(Decision::Append(said)) = append(&mut talk, "alice", &command(1, said("a"))) else {
        panic!("fresh")
    };
    let loaded = Loaded {
        row: Some(talk.row.clone()),
        members: stored,
        events: vec![RawEvent::decode(said.event).unwrap()],
    };
    let again = Conversation::load(talk.id, loaded);
    for user in ["alice", "bob"] {
        assert_eq!(again.roster.member(user), talk.roster.member(user));
    }
    assert_eq!(again.roster.member("alice").unwrap().read_seq, 2);
}

proptest! {
    /// A conversation loaded from its log and rows decides every retry as the one that wrote it.
    #[test]
    fn a_loaded_conversation_decides_alike(texts in prop::collection::vec("[ab]{0,3}", 1..40)) {
        let mut talk = group(&["alice", "bob"]);
        let mut loaded = Loaded::default();
        let commands: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| command(number as u64 + 1, said(text)))
            .collect();
        for command in &commands {
            let Decision::Append(appended) = append(&mut talk, "alice", command).unwrap() else {
                panic!("fresh")
            };
            loaded.events.push(RawEvent::decode(appended.event).unwrap());
        }
        loaded.row = Some(talk.row.clone());
        loaded.members = talk.roster.members().map(|(row, _)| row.clone()).collect();
        let mut again = Conversation::load(talk.id, loaded);
        prop_assert_eq!(again.head_seq(), talk.head_seq());
        for command in &commands {
            let now = NOW_MS;
            let first = seq(talk.append("alice", "phone", command, now, 100));
            match again.append("alice", "phone", command, now, 100).unwrap() {
                Decision::Answer(result) => prop_assert_eq!(result.seq, first),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let fresh = command(9999, said("new"));
        let expected = seq(append(&mut talk, "bob", &fresh));
        // The loaded tail began above seq 1, so ids of its own age must be read back first.
        let asked = append(&mut again, "bob", &fresh).unwrap();
        if let Decision::Needs(NeedsFact::IdsSince(since)) = asked {
            let lookup = again.look_up(since, std::iter::empty());
            again.learn(lookup);
        }
        prop_assert_eq!(seq(append(&mut again, "bob", &fresh)), expected);
    }
}
