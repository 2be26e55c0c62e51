//! Pushes in a shard: what is stored before an intent leaves, and what its outcome leads to.

use super::*;
use crate::shard::{
    Shard,
    bare::{self, TALK},
    owner_changing,
};
use futures_util::{FutureExt, Stream, StreamExt};
use heddle_kit::{
    ManualClock,
    link::{OutboxOptions, outbox},
};
use heddle_proto::{
    ids::LogId,
    internal::{
        Cell, FanOut, FanOutEvent, NoticesRow, Pointer, PointerKind, PushIntent, PushKind, Table,
    },
    v1::{MarkState, StateChange, state_change},
};
use prost::Message as _;
use std::{pin::Pin, sync::Arc};

const GRACE_MS: u64 = 5_000;

/// A shard with bob's mailbox, whose phone is away, and what reaches notify-svc.
struct Bench {
    shard: Shard,
    clock: Arc<ManualClock>,
    sent: Pin<Box<dyn Stream<Item = Vec<PushIntent>>>>,
    fan_outs: u64,
}

impl Bench {
    fn new() -> Self {
        let mut shard = bare::shard();
        let clock = ManualClock::at(bare::NOW_MS);
        shard.around.clock = clock.clone();
        let mut config = (*shard.around.config).clone();
        (config.push_titles, config.push_previews) = (false, false);
        shard.around.config = Arc::new(config);
        bare::take(&mut shard);
        let (intents, sent) = outbox(OutboxOptions::default(), |intents| intents);
        shard.notify_link(Some(intents));
        let sent = Box::pin(sent);
        let mut bench = Self {
            shard,
            clock,
            sent,
            fan_outs: 0,
        };
        bench.load();
        bench
    }

    fn load(&mut self) {
        let user: Arc<str> = "bob".into();
        self.shard.load_mailbox(user.clone(), Vec::new());
        bare::load_bob(&mut self.shard);
        let live = self.shard.live_mailbox(&user).expect("loaded");
        live.mailbox
            .devices
            .insert("phone".into(), Default::default());
    }

    fn comes(&mut self, fan_out: FanOut) {
        self.fan_outs += 1;
        let id = self.fan_outs;
        bare::comes(&mut self.shard, FanOut { id, ..fan_out });
    }

    fn message(&mut self, seq: u64) {
        self.comes(bare::event_for_bob(FanOutEvent {
            seq,
            ordinal: seq,
            kind: PointerKind::Message as i32,
            sender: "ann".into(),
            ..Default::default()
        }));
    }

    fn reads(&mut self, read_seq: u64) {
        let mark = MarkState {
            conversation_id: TALK.to_vec().into(),
            user_id: "bob".into(),
            read_seq,
            read_ordinal: read_seq,
            ..Default::default()
        };
        let change = StateChange {
            create_time: None,
            kind: Some(state_change::Kind::Mark(mark)),
        };
        let state = change.encode_to_vec().into();
        self.comes(bare::state_for_bob(state));
    }

    fn passes(&mut self, time_ms: u64) {
        self.clock.advance(time_ms);
        self.shard.on_tick();
    }

    /// The batch is committed; what leaves with it.
    fn commits(&mut self) -> Vec<PushIntent> {
        let batch = std::mem::take(&mut self.shard.batch);
        self.shard.carry_out(batch);
        self.sent
            .next()
            .now_or_never()
            .flatten()
            .unwrap_or_default()
    }

    fn outcome(&mut self, id: u64, outcome: PushOutcome) {
        let result = PushResult {
            device_id: "phone".into(),
            provider: "log".into(),
            outcome: outcome as i32,
            ..Default::default()
        };
        self.shard.push_settled(IntentOutcome {
            id,
            settled: true,
            results: vec![result],
            ..Default::default()
        });
    }

    /// Values of a table in the batch that is being formed.
    fn cells(&mut self, table: Table) -> Vec<bytes::Bytes> {
        let commit = self.shard.batch.commit((1, 0, 1), &bare::OWNER);
        let cells = commit.cells.iter();
        let found = cells.filter(|cell| cell.table == table as i32);
        let found = found.map(|cell| cell.value.clone()).collect();
        self.shard.batch.cells(commit.cells);
        found
    }

    fn notices(&mut self) -> NoticesRow {
        let rows = self.cells(Table::Notices);
        NoticesRow::decode(rows.last().expect("notices are stored").clone()).unwrap()
    }

    fn waits(&mut self) -> bool {
        let live = self.shard.live_mailbox(&"bob".into()).expect("loaded");
        !live.mailbox.pushes.is_empty()
    }
}

/// A message that nobody acknowledged, pushed: its intent.
fn pushed(bench: &mut Bench) -> PushIntent {
    bench.message(1);
    bench.commits();
    bench.passes(GRACE_MS);
    bench.commits().pop().expect("an intent")
}

#[tokio::test]
async fn what_devices_may_show_is_stored_before_the_intent_leaves() {
    let mut bench = Bench::new();
    bench.message(1);
    assert!(bench.commits().is_empty());
    bench.passes(GRACE_MS - 1);
    assert!(bench.commits().is_empty(), "the grace time runs");
    bench.passes(1);
    assert_eq!(bench.notices().shown[0].seq, 1);
    let intents = bench.commits();
    assert_eq!((intents.len(), intents[0].badge), (1, 1));
    assert_eq!(intents[0].devices[0].device_id, "phone");
    let mailbox = LogId::mailbox("bob");
    assert_eq!(intents[0].push_id, format!("{mailbox}/1"));
    bench.outcome(intents[0].id, PushOutcome::Delivered);
    assert!(!bench.waits());
    assert_eq!(bench.notices().settled[0].push_id, intents[0].push_id);
}

/// A whole shard's pushes may be due at once.
#[tokio::test]
async fn a_push_that_does_not_fit_into_a_commit_leaves_with_the_next() {
    let mut bench = Bench::new();
    bench.message(1);
    bench.commits();
    let value = vec![0; crate::shard::batch::BATCH_BYTES_MAX].into();
    bench.shard.batch.cells([Cell {
        value,
        ..Default::default()
    }]);
    bench.passes(GRACE_MS);
    assert!(bench.commits().is_empty());
    bench.passes(50);
    assert_eq!(bench.commits().len(), 1);
}

#[tokio::test]
async fn an_intent_whose_commit_is_refused_is_due_again() {
    let mut bench = Bench::new();
    bench.message(1);
    bench.commits();
    bench.passes(GRACE_MS);
    bench.shard.in_flight = Some(std::mem::take(&mut bench.shard.batch));
    bench.shard.roll_back(owner_changing());
    assert!(bench.commits().is_empty() && bench.waits());
    bench.passes(1_000);
    assert_eq!(bench.commits().len(), 1);
}

#[tokio::test]
async fn what_is_given_up_is_a_dead_letter_in_the_commit_that_settles_it() {
    let mut bench = Bench::new();
    let intent = pushed(&mut bench);
    bench.outcome(intent.id, PushOutcome::DeadLetter);
    let letters = bench.cells(Table::DeadLetters);
    let letter = DeadLetterRow::decode(letters[0].clone()).unwrap();
    assert_eq!((letter.push_id, letter.seq), (intent.push_id, 1));
    assert!(!bench.waits());
    assert!(bench.notices().shown.is_empty(), "no device shows it");
}

/// The server stops after the outcome is stored and before the push position is.
#[tokio::test]
async fn what_was_settled_before_a_restart_is_not_pushed_again() {
    let mut bench = Bench::new();
    let intent = pushed(&mut bench);
    bench.outcome(intent.id, PushOutcome::DeadLetter);
    bench.commits();
    let live = bench.shard.live_mailbox(&"bob".into()).expect("loaded");
    let pointer = Pointer {
        seq: 1,
        ..Default::default()
    };
    let conversation = TALK;
    live.mailbox
        .pushes
        .note(conversation, intent.position, &pointer, bare::NOW_MS);
    bench.shard.mind_pushes(&"bob".into());
    bench.passes(2 * GRACE_MS + 10_000);
    assert!(bench.commits().is_empty() && !bench.waits());
    bench.message(2);
    bench.commits();
    bench.passes(GRACE_MS);
    assert_eq!(bench.commits().len(), 1, "a newer message is another push");
}

#[tokio::test]
async fn what_is_read_is_cleared_and_the_badge_falls() {
    let mut bench = Bench::new();
    let intent = pushed(&mut bench);
    bench.outcome(intent.id, PushOutcome::Delivered);
    bench.reads(1);
    bench.commits();
    bench.passes(1_000);
    let clear = bench.commits().pop().expect("a clear");
    assert_eq!((clear.kind(), clear.badge), (PushKind::Clear, 0));
    assert_eq!(clear.conversation_id, intent.conversation_id);
    assert_eq!(
        clear.position, intent.position,
        "it takes the place of that push and of no newer one"
    );
    bench.outcome(clear.id, PushOutcome::Delivered);
    assert!(bench.notices().shown.is_empty());
    bench.commits();
    bench.passes(60_000);
    assert!(bench.commits().is_empty(), "once");
}

/// A newer message is about to be pushed as an older one is cleared: the clear must not look newer
/// than the push to come.
#[tokio::test]
async fn a_clear_does_not_take_the_place_of_a_push_to_come() {
    let mut bench = Bench::new();
    let first = pushed(&mut bench);
    bench.outcome(first.id, PushOutcome::Delivered);
    bench.reads(1);
    bench.message(2);
    bench.commits();
    bench.passes(1_000);
    let clear = bench.commits().pop().expect("a clear");
    assert_eq!(clear.kind(), PushKind::Clear);
    bench.passes(20_000);
    let second = bench.commits().pop().expect("the newer push");
    assert_eq!((second.kind(), second.seq), (PushKind::Message, 2));
    assert!(clear.position < second.position);
}

/// The link to notify-svc breaks: nobody knows what became of what was on its way.
#[tokio::test]
async fn what_was_on_its_way_goes_again_under_the_same_id() {
    let mut bench = Bench::new();
    let first = pushed(&mut bench);
    bench.shard.notify_link(None);
    bench.passes(1_000);
    assert!(bench.commits().is_empty());
    let (intents, sent) = outbox(OutboxOptions::default(), |intents| intents);
    bench.shard.notify_link(Some(intents));
    bench.sent = Box::pin(sent);
    bench.passes(1_000);
    let again = bench.commits().pop().expect("again");
    assert_eq!(again.push_id, first.push_id);
    assert_ne!(again.id, first.id);
    bench.outcome(first.id, PushOutcome::DeadLetter);
    assert!(bench.waits(), "an old outcome counts for nothing");
}
