//! Pieces keep their order, whatever keeps them waiting.

use super::*;
use crate::shard::{
    bare::{comes, event_for_bob, load_bob, taken_shard},
    mailboxes::{MailboxSlot, Waiting},
    owner_changing,
};
use heddle_proto::internal::{FanOut, FanOutEvent, FanOutState, ReadOutcome};

/// A state for bob, told apart by its bytes.
fn state(number: u8) -> FanOut {
    let state = FanOutState {
        user_id: "bob".into(),
        state: vec![number].into(),
    };
    FanOut {
        restart: true,
        states: vec![state],
        ..Default::default()
    }
}

/// An event for bob.
fn event(seq: u64) -> FanOut {
    event_for_bob(FanOutEvent {
        seq,
        ..Default::default()
    })
}

/// What bob's mailbox has taken into the batch, in order.
fn taken(shard: &Shard) -> Vec<u8> {
    let states = shard.batch.due.iter().map(|due| due.body.as_ref());
    states.flatten().copied().collect()
}

#[tokio::test]
async fn what_comes_after_a_refused_commit_does_not_overtake_it() {
    let mut shard = taken_shard();
    comes(&mut shard, state(1));
    load_bob(&mut shard);
    comes(&mut shard, state(2));
    shard.in_flight = Some(std::mem::take(&mut shard.batch));
    comes(&mut shard, state(3));
    shard.roll_back(owner_changing());
    comes(&mut shard, state(4));
    assert_eq!(taken(&shard), [0u8; 0]);
    shard.on_tick();
    load_bob(&mut shard);
    assert_eq!(taken(&shard), [1, 2, 3, 4]);
    comes(&mut shard, state(5));
    assert_eq!(taken(&shard), [1, 2, 3, 4, 5], "nothing waits any more");
}

#[tokio::test]
async fn what_comes_after_a_hole_waits_for_it() {
    let mut shard = taken_shard();
    comes(&mut shard, event(3));
    load_bob(&mut shard);
    comes(&mut shard, state(9));
    assert_eq!(taken(&shard), [0u8; 0]);
    // A failing read is tried again with the next tick.
    for code in [tonic::Code::Unavailable, tonic::Code::Ok] {
        let id = shard.reads.ids().min().expect("the hole is being read");
        let missing = |seq: u64| heddle_proto::internal::RawEvent {
            seq,
            ..Default::default()
        };
        shard.on_read(ReadOutcome {
            id,
            code: code as i32,
            events: [missing(1), missing(2)]
                .map(|event| prost::Message::encode_to_vec(&event).into())
                .into(),
            ..Default::default()
        });
        shard.timers.held_at_once();
        shard.on_tick();
    }
    let due = shard.batch.due.iter();
    let order: Vec<_> = due.map(|due| (due.which.1, due.body.len())).collect();
    assert_eq!(order.len(), 4, "{order:?}");
    assert_eq!((order[2].0, order[3]), (3, (0, 1)));
}

#[tokio::test]
async fn another_mailbox_does_not_wait() {
    let mut shard = taken_shard();
    shard.held.block("alice");
    comes(&mut shard, state(1));
    let Some(MailboxSlot::Loading(loading)) = shard.mailboxes.get("bob") else {
        panic!("bob's mailbox is loaded");
    };
    assert!(matches!(loading.waiting[..], [Waiting::Piece(_)]));
}
