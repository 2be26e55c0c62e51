//! Sends whose ids the index cannot speak for are looked up once, and decided.

use super::*;
use crate::{
    conversation::{Conversation, Loaded, index::INDEX_IDS_MAX},
    shard::{
        bare::{NOW_MS, answer_read, taken_shard},
        conversations::{ConversationSlot, Live},
        mailboxes::MailboxSlot,
    },
};
use heddle_proto::{
    ids::MessageId,
    internal::{AppendCommand, ConversationRow, MemberRow, append_command, command::Op, raw_event},
    time, v1,
};

fn log() -> LogId {
    LogId::group("alice", &[1; 16])
}

fn id(time_ms: u64) -> MessageId {
    MessageId::mint(time_ms, &[3; 10])
}

fn event(seq: u64, time_ms: u64) -> RawEvent {
    RawEvent {
        seq,
        client_message_id: id(time_ms).to_bytes(),
        create_time: Some(time::timestamp(time_ms)),
        sender: "alice".into(),
        kind: Some(raw_event::Kind::Message(said())),
        ..Default::default()
    }
}

fn said() -> Bytes {
    let content = Some(v1::message::Content::Text("words".into()));
    let message = v1::Message {
        content,
        ..Default::default()
    };
    message.encode_to_vec().into()
}

/// A shard with alice's talk, of which these events were loaded.
fn shard(events: Vec<RawEvent>) -> Shard {
    let member = MemberRow {
        user_id: "alice".into(),
        since_seq: 1,
        ..Default::default()
    };
    let loaded = Loaded {
        row: Some(ConversationRow::default()),
        members: vec![member],
        events,
    };
    let talk = Conversation::load(log(), loaded);
    let mut shard = taken_shard();
    let slot = ConversationSlot::Ready(Box::new(Live::new(talk)));
    shard.conversations.insert(log(), slot);
    shard
}

fn sends(shard: &mut Shard, id: MessageId) {
    let append = AppendCommand {
        client_message_id: id.to_bytes(),
        kind: Some(append_command::Kind::Message(said())),
        ..Default::default()
    };
    let command = Command {
        id: 9,
        user_id: "alice".into(),
        log_id: log().to_bytes(),
        op: Some(Op::Append(Box::new(append))),
        ..Default::default()
    };
    shard.on_command(&Edge::new(1).0, command);
}

fn is_reading(shard: &Shard) -> bool {
    shard.reads.ids().next().is_some()
}

/// After a take-over of a busy conversation what was loaded is hardly a minute old, and sends that
/// waited for it are older than that minute.
#[tokio::test]
async fn a_send_from_before_a_take_over_is_decided_after_one_reading() {
    let mut shard = shard(vec![event(9, NOW_MS - 60_000)]);
    sends(&mut shard, id(NOW_MS - 1));
    assert!(is_reading(&shard), "an id of then may have been stored");
    answer_read(&mut shard, ReadOutcome::default());
    assert!(!is_reading(&shard), "nothing older is stored");
    assert_eq!(shard.batch.event_count(), 1);
    sends(&mut shard, id(NOW_MS - 1));
    assert_eq!(shard.batch.event_count(), 1, "and once it is");
}

/// After an outage all devices send again what they had under way.
#[tokio::test]
async fn all_who_ask_at_a_time_are_decided_by_one_reading() {
    let mut shard = shard(vec![event(9, NOW_MS)]);
    let asked: Vec<_> = (1..=5).map(|ago_ms| id(NOW_MS - ago_ms)).collect();
    for id in &asked {
        sends(&mut shard, *id);
    }
    assert_eq!(shard.reads.ids().count(), 1);
    answer_read(&mut shard, ReadOutcome::default());
    assert_eq!(shard.batch.event_count(), 1, "the one that began it");
    assert_eq!(shard.reads.ids().count(), 1, "one more for all others");
    answer_read(&mut shard, ReadOutcome::default());
    assert_eq!(shard.batch.event_count(), asked.len());
    assert!(!is_reading(&shard));
}

/// The index holds so many ids; what it has forgotten stands in the log above what was loaded.
#[tokio::test]
async fn an_id_that_was_forgotten_is_found_in_the_log_and_not_stored_again() {
    let count = INDEX_IDS_MAX as u64 + 3;
    let events: Vec<_> = (1..=count).map(|seq| event(seq, NOW_MS + seq)).collect();
    let first: Vec<_> = events[..2].iter().map(|it| it.encode_to_vec()).collect();
    let mut shard = shard(events);
    sends(&mut shard, id(NOW_MS + 2));
    answer_read(
        &mut shard,
        ReadOutcome {
            seq: 1,
            ..Default::default()
        },
    );
    // The first page has it, and all pages are read.
    answer_read(
        &mut shard,
        ReadOutcome {
            events: first.into_iter().map(Bytes::from).collect(),
            more: true,
            ..Default::default()
        },
    );
    assert!(is_reading(&shard));
    answer_read(&mut shard, ReadOutcome::default());
    assert!(!is_reading(&shard));
    assert_eq!(shard.batch.event_count(), 0, "it is known");
    // Of another one as old nothing was learnt: it is not taken for fresh.
    sends(&mut shard, id(NOW_MS + 3));
    assert!(is_reading(&shard));
    assert_eq!(shard.batch.event_count(), 0);
}

/// A shard that was just taken has the mailboxes of all its sessions to load.
#[tokio::test]
async fn what_a_send_waits_for_is_read_before_mailboxes() {
    const USERS: usize = 20;
    let mut shard = taken_shard();
    shard.load_conversation(log(), Vec::new());
    for number in 0..USERS {
        shard.load_mailbox(format!("user {number}").into(), Vec::new());
    }
    assert_eq!(shard.reads.ids().count(), 1 + PATIENT_MAX);
    shard.load_conversation(LogId::group("bob", &[2; 16]), Vec::new());
    assert_eq!(
        shard.reads.ids().count(),
        2 + PATIENT_MAX,
        "it does not queue"
    );
    while is_reading(&shard) {
        answer_read(&mut shard, ReadOutcome::default());
    }
    let ready = |slot: &&MailboxSlot| matches!(slot, MailboxSlot::Ready(_));
    assert_eq!(shard.mailboxes.values().filter(ready).count(), USERS);
}
