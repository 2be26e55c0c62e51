//! What the last owner wrote as the epoch was raised is fanned out, though no note tells of it.

use super::*;
use crate::shard::bare::{NOW_MS, answer_read, taken_shard};
use heddle_proto::{
    ids::MessageId,
    internal::{Cell, LogBatch, StoredRow},
    time,
};

/// A row of one event, written so long ago.
fn row(first_seq: u64, age_ms: u64) -> StoredRow {
    let event = RawEvent {
        seq: first_seq,
        client_message_id: MessageId::mint(NOW_MS, &[first_seq as u8; 10]).to_bytes(),
        create_time: Some(time::timestamp(NOW_MS - age_ms)),
        ..Default::default()
    };
    let batch = LogBatch {
        first_seq,
        committed_head: first_seq - 1,
        events: vec![event.encode_to_vec().into()],
        ..Default::default()
    };
    StoredRow {
        batch: Some(batch),
        ..Default::default()
    }
}

/// What is read of a conversation's log again once it is loaded, with rows of such ages.
fn reads_again(ages_ms: &[u64], noted: Option<u64>) -> Option<u64> {
    let mut shard = taken_shard();
    let log = LogId::group("alice", &[1; 16]);
    let noted = noted.map(|from_seq| (log, (from_seq, 0)));
    shard.recovering.conversations.extend(noted);
    shard.load_conversation(log, Vec::new());
    let rows = (1..).zip(ages_ms).map(|(seq, age_ms)| row(seq, *age_ms));
    let tail = ReadOutcome {
        rows: rows.collect(),
        ..Default::default()
    };
    answer_read(&mut shard, tail);
    // The row of a conversation that exists, and nobody in it.
    let row = ReadOutcome {
        cells: vec![Cell::default()],
        ..Default::default()
    };
    answer_read(&mut shard, row);
    while let Some(ConversationSlot::Loading(_)) = shard.conversations.get(&log) {
        answer_read(&mut shard, ReadOutcome::default());
    }
    shard.reads.recovers_from()
}

#[tokio::test]
async fn a_young_last_row_is_fanned_out_without_a_note() {
    assert_eq!(reads_again(&[90_000, 1_000], None), Some(2));
    assert_eq!(
        reads_again(&[1_000, 1_000], None),
        Some(2),
        "one is under way"
    );
    assert_eq!(
        reads_again(&[1_000, 1_000], Some(1)),
        Some(1),
        "notes know more"
    );
    let old_ms = UNNOTED_MAX_MS + 1;
    assert_eq!(reads_again(&[old_ms, old_ms], None), None);
    assert_eq!(reads_again(&[], None), None);
}
