//! The mailbox's promises, on the pure state: once, in order, without a gap, and back from the log.

use super::*;
use heddle_proto::v1::{MarkState, state_change::Kind};

fn event(seq: u64) -> FanOutEvent {
    let kind = PointerKind::Message as i32;
    FanOutEvent {
        seq,
        ordinal: seq,
        kind,
        sender: "bob".into(),
        ..Default::default()
    }
}

fn member(since_seq: u64, until_seq: u64) -> Recipient {
    Recipient {
        user_id: "alice".into(),
        since_seq,
        until_seq,
        since_ordinal: since_seq - 1,
    }
}

fn take(mailbox: &mut Mailbox, seq: u64, member: &Recipient) -> Taken {
    let fan_out = FanOut {
        conversation_id: Bytes::from_static(&[5; 16]),
        direct: true,
        ..Default::default()
    };
    mailbox.take_event(&fan_out, &event(seq), member, 7, 0)
}

fn mailbox() -> Mailbox {
    Mailbox::load(LogId::mailbox("alice"), "alice", None)
}

#[test]
fn an_event_is_taken_once_and_a_gap_is_named() {
    let mut alice = mailbox();
    let since_one = member(1, 0);
    assert!(matches!(take(&mut alice, 1, &since_one), Taken::Entry(_)));
    assert_eq!(take(&mut alice, 1, &since_one), Taken::Not);
    assert_eq!(take(&mut alice, 3, &since_one), Taken::Hole(2));
    assert_eq!(alice.head(), 1);
}

#[test]
fn what_lies_outside_a_membership_is_not_taken() {
    let mut alice = mailbox();
    let within = member(3, 5);
    assert_eq!(take(&mut alice, 2, &within), Taken::Not);
    assert!(matches!(take(&mut alice, 3, &within), Taken::Entry(_)));
    assert!(matches!(take(&mut alice, 4, &within), Taken::Entry(_)));
    assert_eq!(take(&mut alice, 5, &within), Taken::Not);
    let again = member(8, 0);
    let Taken::Entry(entry) = take(&mut alice, 8, &again) else {
        panic!("rejoined")
    };
    assert_eq!((entry.position, entry.previous_seq), (3, 0));
}

/// As a former owner's that was halted, or one that went round by another node.
#[test]
fn a_change_of_state_that_comes_late_is_not_taken() {
    let (talk, mark) = (Bytes::from_static(&[5; 16]), MarkState::default());
    let state = StateChange {
        create_time: None,
        kind: Some(Kind::Mark(MarkState {
            conversation_id: talk.clone(),
            ..mark
        })),
    };
    let state = Bytes::from(state.encode_to_vec());
    let mut alice = mailbox();
    take(&mut alice, 1, &member(1, 0));
    let mut entries = Vec::new();
    let mut taken = |alice: &mut Mailbox, epoch, id, place| {
        let version = StateVersion {
            shard: 3,
            epoch,
            id,
            place,
        };
        let entry = alice.take_told_state(&talk, version, &state, 7, 0);
        entries.extend(entry.iter().map(|entry| entry.bytes.clone()));
        entry.is_some()
    };
    assert!(taken(&mut alice, 5, 70, 1));
    assert!(taken(&mut alice, 5, 70, 2), "one telling may have several");
    assert!(!taken(&mut alice, 5, 70, 1), "a telling comes again");
    assert!(!taken(&mut alice, 5, 70, 2), "all of it");
    assert!(taken(&mut alice, 5, 70, 3), "but for what was not stored");
    assert!(taken(&mut alice, 6, 2, 1), "the next owner's");
    assert!(!taken(&mut alice, 5, 71, 1), "the former owner's");
    assert!(!taken(&mut alice, 6, 1, 9));
    let mut again = mailbox();
    take(&mut again, 1, &member(1, 0));
    for entry in entries {
        again.replay(&MailboxEntry::decode(entry).unwrap(), 7, 0);
    }
    let rows = alice.list.to_rows();
    assert_eq!(again.list.to_rows(), rows, "as loaded by the next owner");
    let rejoined = member(9, 0);
    alice.list.enter(&talk, &rejoined);
    let version = StateVersion {
        shard: 3,
        epoch: 5,
        id: 72,
        place: 1,
    };
    let late = alice.take_told_state(&talk, version, &state, 7, 0);
    assert_eq!(late, None, "a new membership does not forget it");
    let elsewhere = StateVersion {
        shard: 4,
        ..version
    };
    let entry = alice.take_told_state(&talk, elsewhere, &state, 7, 0);
    assert!(entry.is_some(), "another shard counts by itself");
}

#[test]
fn a_replayed_mailbox_is_the_same() {
    let mut alice = mailbox();
    let mut again = mailbox();
    for seq in 4..9 {
        let Taken::Entry(entry) = take(&mut alice, seq, &member(4, 0)) else {
            panic!("due")
        };
        again.replay(&MailboxEntry::decode(entry.bytes).unwrap(), 7, 0);
    }
    assert_eq!(again.list.to_rows(), alice.list.to_rows());
    assert_eq!(
        again.cursor(0),
        Cursor {
            position: 5,
            nonce: 7
        }
    );
    assert_eq!(again.list.badge(0), 5);
}
