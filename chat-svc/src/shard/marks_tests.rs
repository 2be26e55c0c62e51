//! Delivered marks outlive what a shard loses short of its process.

use super::*;
use crate::{
    conversation::{Conversation, Loaded},
    shard::{
        bare::{NOW_MS, shard, take},
        conversations::Live,
        input::PeerInput,
        owner_changing,
        ownership::Phase,
    },
};
use heddle_proto::{
    ids::MessageId,
    internal::{ConversationRow, FanOutState, MemberRow, RawEvent, ReadOutcome},
    v1::{StateChange, state_change},
};
use prost::Message as _;

fn log() -> LogId {
    LogId::group("alice", &[1; 16])
}

fn report(id: u64, delivered_seq: u64, read_seq: u64) -> Command {
    let report = MarkCommand {
        delivered_seq,
        read_seq,
    };
    Command {
        id,
        user_id: "bob".into(),
        log_id: log().to_bytes(),
        op: Some(Op::Mark(report)),
        ..Default::default()
    }
}

fn events() -> Vec<RawEvent> {
    let event = |seq: u8| RawEvent {
        seq: u64::from(seq),
        client_message_id: MessageId::mint(NOW_MS, &[seq; 10]).to_bytes(),
        ..Default::default()
    };
    (1..=3).map(event).collect()
}

/// A talk of alice and bob with three events.
fn talk() -> Conversation {
    let member = |name: &str| MemberRow {
        user_id: name.into(),
        since_seq: 1,
        ..Default::default()
    };
    let loaded = Loaded {
        row: Some(ConversationRow::default()),
        members: vec![member("alice"), member("bob")],
        events: events(),
    };
    Conversation::load(log(), loaded)
}

/// The delivered marks that wait for the conversation to be loaded.
fn waiting(shard: &Shard) -> Vec<u64> {
    use crate::shard::mailboxes::Waiting;
    let Some(ConversationSlot::Loading(loading)) = shard.conversations.get(&log()) else {
        return Vec::new();
    };
    let seq = |waiting: &Waiting| match waiting {
        Waiting::Command(_, command) => match &command.op {
            Some(Op::Mark(report)) => Some(report.delivered_seq),
            _ => None,
        },
        Waiting::Piece(_) => None,
    };
    loading.waiting.iter().filter_map(seq).collect()
}

#[tokio::test]
async fn a_mark_that_comes_before_the_shard_is_taken_is_taken_in_after() {
    let mut shard = shard();
    let edge = Edge::new(1).0;
    for seq in [2, 3, 1] {
        shard.on_command(&edge, report(0, seq, 0));
    }
    assert_eq!(waiting(&shard), [0u64; 0]);
    take(&mut shard);
    shard.on_tick();
    assert_eq!(waiting(&shard), [3]);
}

/// A mark that crossed a move belongs to the next owner; nothing but a tick sends it on.
#[tokio::test]
async fn who_has_no_shard_any_more_is_woken_while_it_holds_marks() {
    let mut shard = shard();
    shard.phase = Phase::Away;
    assert!(!shard.needs_ticks(), "another's shard costs nothing");
    shard.on_command(&Edge::new(1).0, report(0, 2, 0));
    assert!(shard.needs_ticks());
    shard.on_tick();
    let given =
        |input: &PeerInput| matches!(input, PeerInput::Mark(mark) if mark.delivered_seq == 2);
    assert!(shard.unsent.iter().any(|(_, input)| given(input)));
    shard.send_unsent();
    assert!(
        shard.needs_ticks(),
        "nobody has the shard yet: it goes again"
    );
}

#[tokio::test]
async fn marks_of_a_commit_that_failed_are_asked_for_or_taken_in_again() {
    let mut shard = shard();
    let (edge, mut frames) = Edge::new(1);
    take(&mut shard);
    let live = Box::new(Live::new(talk()));
    let slot = ConversationSlot::Ready(live);
    shard.conversations.insert(log(), slot);
    // The first is in the batch, the others wait for the interval to be over.
    for (id, delivered_seq, read_seq) in [(0, 1, 0), (0, 2, 0), (9, 0, 2)] {
        shard.on_command(&edge, report(id, delivered_seq, read_seq));
    }
    shard.told(&log(), 4);
    shard.roll_back(owner_changing());
    let from = shard.recovering.conversations.get(&log());
    assert_eq!(from.map(|it| it.0), Some(4), "is fanned out again");
    shard.on_tick();
    assert_eq!(waiting(&shard), [2]);
    let answered = futures_util::StreamExt::next(&mut frames).await;
    let results = answered.map(|frame| frame.results).unwrap_or_default();
    assert_eq!(
        results.iter().map(|result| result.id).collect::<Vec<_>>(),
        [9]
    );
}

/// What alice is told of bob's delivered mark.
fn told(states: &[FanOutState]) -> Vec<u64> {
    let to_alice = states.iter().filter(|state| state.user_id == "alice");
    let kinds = to_alice.filter_map(|state| StateChange::decode(state.state.clone()).ok()?.kind);
    let seq = |kind| match kind {
        state_change::Kind::Mark(mark) if mark.user_id == "bob" => Some(mark.delivered_seq),
        _ => None,
    };
    kinds.filter_map(seq).collect()
}

/// A shard that fans the talk out again; meanwhile bob's first mark was stored.
fn recovering_shard(edge: &Arc<Edge>) -> Shard {
    let mut shard = shard();
    take(&mut shard);
    let slot = ConversationSlot::Ready(Box::new(Live::new(talk())));
    shard.conversations.insert(log(), slot);
    shard.recovering.conversations.insert(log(), (1, 0));
    shard.start_recovery(log(), 0);
    shard.on_command(edge, report(0, 1, 0));
    let committed = std::mem::take(&mut shard.batch);
    shard.carry_out(committed);
    shard
}

/// The log, which is being read, is read with this outcome.
fn log_is_read(shard: &mut Shard, code: tonic::Code) {
    shard.timers.held_at_once();
    shard.on_tick();
    let ids: Vec<_> = shard.reads.ids().collect();
    let [id] = ids[..] else {
        panic!("{ids:?}: the log is being read")
    };
    let events = events().into_iter();
    shard.on_read(ReadOutcome {
        id,
        code: code.into(),
        events: events.map(|it| it.encode_to_vec().into()).collect(),
        ..Default::default()
    });
}

/// What alice was sent of bob's delivered mark.
fn sent(shard: &Shard) -> Vec<u64> {
    let sent = shard.unsent.iter().flat_map(|(_, input)| match input {
        PeerInput::FanOut(part, _) => told(&part.states),
        _ => Vec::new(),
    });
    sent.collect()
}

#[tokio::test]
async fn marks_told_again_come_after_those_that_waited_and_with_a_commit() {
    let edge = Edge::new(1).0;
    let mut shard = recovering_shard(&edge);
    // One that is not stored yet.
    shard.on_command(&edge, report(0, 2, 0));
    // The log cannot be read at first: what was accepted meanwhile stays all the same.
    log_is_read(&mut shard, tonic::Code::Unavailable);
    assert_eq!(sent(&shard), [0u64; 0]);
    log_is_read(&mut shard, tonic::Code::Ok);
    assert_eq!(sent(&shard), [1]);
    assert_eq!(told(&shard.batch.told[&log()].states), [2]);
}

#[tokio::test]
async fn what_waits_for_a_damaged_log_goes_out_and_the_log_once_it_is_whole() {
    let edge = Edge::new(1).0;
    let mut shard = recovering_shard(&edge);
    log_is_read(&mut shard, tonic::Code::DataLoss);
    assert_eq!(sent(&shard), [1]);
    shard.timers.held_at_once();
    shard.on_tick();
    assert_eq!(shard.reads.ids().count(), 0, "not again and again");
    shard.recovering.again_at_once();
    let fanned_out = |shard: &Shard| {
        let of_events = |input: &PeerInput| match input {
            PeerInput::FanOut(part, _) => part.events.len(),
            _ => 0,
        };
        shard.unsent.iter().any(|(_, input)| of_events(input) == 3)
    };
    assert!(!fanned_out(&shard));
    log_is_read(&mut shard, tonic::Code::Ok);
    assert!(fanned_out(&shard));
}
