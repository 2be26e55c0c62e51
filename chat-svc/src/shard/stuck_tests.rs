//! What is set aside, when it is taken after all, and what its row does meanwhile.

use super::*;
use crate::shard::{
    bare::{self, TALK},
    batch::BATCH_EVENTS_MAX,
    input::PeerInput,
};
use heddle_proto::{
    internal::{Cell, FanOutAck, FanOutEvent, RawEvent, ReadOutcome, RedriveStuckCommand, Table},
    keys,
};
use prost::Message as _;
use std::ops::Range;
use tonic::Code;

/// A shard with bob's mailbox, which has event 1.
struct Bench {
    shard: Shard,
    edge: Arc<Edge>,
    fan_outs: u64,
}

/// What a batch would store and tell.
#[derive(Default)]
struct Committed {
    /// Seqs of events that bob's mailbox takes; 0: a change of state.
    taken: Vec<u64>,
    /// Rows of what is set aside, written or deleted.
    rows: Vec<Cell>,
    /// Answers: how many events were taken, or why not.
    answers: Vec<Result<u64, ErrorReason>>,
    /// Acknowledgements of fan-outs.
    acks: Vec<FanOutAck>,
}

impl Bench {
    fn new() -> Self {
        let edge = Edge::new(1).0;
        let mut bench = Self {
            shard: bare::taken_shard(),
            edge,
            fan_outs: 0,
        };
        bench.comes(1);
        bare::load_bob(&mut bench.shard);
        assert_eq!(bench.commits().taken, [1]);
        bench
    }

    fn fans_out(&mut self, fan_out: FanOut) {
        self.fan_outs += 1;
        let id = self.fan_outs;
        bare::comes(&mut self.shard, FanOut { id, ..fan_out });
    }

    /// An event for bob.
    fn comes(&mut self, seq: u64) {
        self.fans_out(bare::event_for_bob(FanOutEvent {
            seq,
            ..Default::default()
        }));
    }

    /// A change of state for bob.
    fn changes(&mut self) {
        self.fans_out(bare::state_for_bob(Bytes::new()));
    }

    fn answered(&mut self, outcome: ReadOutcome) {
        bare::answer_read(&mut self.shard, outcome);
    }

    /// What is being read is read as these events.
    fn reads(&mut self, seqs: Range<u64>) {
        let event = |seq| RawEvent {
            seq,
            ordinal: seq,
            ..Default::default()
        };
        self.answered(ReadOutcome {
            events: seqs.map(|seq| event(seq).encode_to_vec().into()).collect(),
            ..Default::default()
        });
    }

    fn cannot_be_read(&mut self, code: Code) {
        self.answered(ReadOutcome {
            code: code.into(),
            ..Default::default()
        });
    }

    fn is_reading(&self) -> bool {
        self.shard.reads.ids().next().is_some()
    }

    /// An operator wants a piece to be taken.
    fn redrives(&mut self, row: &Cell) {
        let ask = RedriveStuckCommand {
            partition: row.partition.clone(),
            clustering: row.clustering.clone(),
            row: Some(stored(row)),
            taken: 0,
        };
        let command = Command {
            id: 9,
            user_id: "bob".into(),
            op: Some(Op::RedriveStuck(Box::new(ask))),
            ..Default::default()
        };
        let edge = self.edge.clone();
        self.shard.on_command(&edge, command);
    }

    /// The batch is committed, and the next one is begun.
    fn commits(&mut self) -> Committed {
        let mut batch = std::mem::take(&mut self.shard.batch);
        assert!(batch.event_count() <= BATCH_EVENTS_MAX);
        let cells = batch.commit((1, 0, 1), &bare::OWNER).cells.into_iter();
        let answers = batch.answers.iter().map(|answer| match &answer.outcome {
            Outcome::Ready(Answer::RedriveStuck(done)) => Ok(done.event_count),
            Outcome::Ready(Answer::Error(error)) => Err(error.reason()),
            _ => panic!("no answer to a redrive"),
        });
        let mut committed = Committed {
            taken: batch.due.iter().map(|due| due.which.1).collect(),
            rows: cells.filter(|it| it.table == Table::Stuck as i32).collect(),
            answers: answers.collect(),
            acks: Vec::new(),
        };
        self.shard.carry_out(batch);
        for (_, input) in self.shard.unsent.drain(..) {
            if let PeerInput::Acks(acks) = input {
                committed.acks.extend(acks);
            }
        }
        self.shard.use_room();
        committed
    }

    /// Bob's mailbox lacks 2 and 3, was sent 4, and nothing of that is in the log: the row.
    fn sets_aside(&mut self) -> Cell {
        self.comes(4);
        self.reads(0..0);
        let committed = self.commits();
        assert_eq!(
            (&committed.taken[..], committed.acks[0].stuck),
            (&[][..], true)
        );
        committed.rows.into_iter().next().expect("a row")
    }
}

fn stored(cell: &Cell) -> StuckRow {
    StuckRow::decode(cell.value.clone()).unwrap()
}

fn key(cell: &Cell) -> (Bytes, Bytes, bool) {
    (cell.partition.clone(), cell.clustering.clone(), cell.delete)
}

#[tokio::test]
async fn what_the_log_does_not_give_is_set_aside_with_all_that_a_redrive_needs() {
    let mut bench = Bench::new();
    let cell = bench.sets_aside();
    assert_eq!(cell.partition, keys::of_day_at(bare::NOW_MS, 0));
    let row = stored(&cell);
    assert_eq!((&*row.user_id, &row.log_id[..]), ("bob", &TALK[..]));
    assert_eq!((row.from_seq, row.seq, row.to_seq), (2, 4, 4));
    assert_eq!((row.since_seq, row.time_ms), (1, bare::NOW_MS));
    assert!(row.reason.contains("event 2"), "{}", row.reason);
    assert!(!bench.is_reading());
}

/// A log whose first missing rows are gone gives those behind them, however often it is asked.
#[tokio::test]
async fn what_begins_behind_the_hole_is_not_read_again_and_again() {
    let mut bench = Bench::new();
    bench.comes(4);
    bench.reads(3..4);
    assert!(!bench.is_reading());
    let committed = bench.commits();
    assert_eq!((committed.rows.len(), committed.taken.len()), (1, 0));
}

#[tokio::test]
async fn a_log_that_is_damaged_holds_up_no_mailbox() {
    let mut bench = Bench::new();
    bench.comes(4);
    bench.changes();
    bench.cannot_be_read(Code::Unavailable);
    assert_eq!(bench.commits().rows.len(), 0, "that may pass");
    bench.shard.timers.held_at_once();
    bench.shard.on_tick();
    bench.cannot_be_read(Code::DataLoss);
    let committed = bench.commits();
    assert_eq!(committed.rows.len(), 1);
    assert_eq!(committed.taken, [0], "what waited goes on");
}

/// The conversation goes on, and each of its events finds the same hole.
#[tokio::test]
async fn what_comes_later_makes_the_row_reach_further() {
    let mut bench = Bench::new();
    let first = bench.sets_aside();
    bench.comes(5);
    bench.reads(0..0);
    let rows = bench.commits().rows;
    assert_eq!((rows.len(), key(&rows[0])), (1, key(&first)));
    let row = stored(&rows[0]);
    assert_eq!((row.from_seq, row.to_seq), (2, 5));
    bench.redrives(&first);
    bench.reads(2..6);
    let committed = bench.commits();
    assert_eq!(committed.taken, [2, 3, 4, 5], "as it is now");
    assert_eq!(committed.answers, [Ok(4)]);
}

#[tokio::test]
async fn a_redrive_takes_what_is_missing_in_order_and_the_row_goes_with_it() {
    let mut bench = Bench::new();
    let row = bench.sets_aside();
    bench.redrives(&row);
    // What comes meanwhile waits for it.
    bench.comes(5);
    bench.changes();
    bench.reads(2..5);
    let committed = bench.commits();
    assert_eq!(committed.taken, [2, 3, 4, 5, 0]);
    assert_eq!(committed.answers, [Ok(3)]);
    let (partition, clustering, _) = key(&row);
    let gone: Vec<_> = committed.rows.iter().map(key).collect();
    assert_eq!(gone, [(partition, clustering, true)]);
    bench.redrives(&row);
    let committed = bench.commits();
    assert_eq!(
        (&committed.taken[..], &committed.answers[..]),
        (&[][..], &[Ok(0)][..])
    );
}

#[tokio::test]
async fn a_redrive_of_a_log_that_still_lacks_events_leaves_the_row() {
    let mut bench = Bench::new();
    let row = bench.sets_aside();
    bench.redrives(&row);
    bench.reads(3..5);
    let committed = bench.commits();
    assert_eq!(committed.answers, [Err(ErrorReason::DataLoss)]);
    assert_eq!((committed.rows.len(), committed.taken.len()), (0, 0));
    bench.redrives(&row);
    bench.cannot_be_read(Code::DataLoss);
    bench.comes(5);
    bench.reads(2..5);
    let committed = bench.commits();
    assert_eq!(committed.taken, [2, 3, 4, 5], "nothing waits for it");
}

/// The log is whole again, and nobody has redriven anything yet.
#[tokio::test]
async fn a_newer_event_brings_what_was_set_aside_and_the_row_goes() {
    let mut bench = Bench::new();
    let row = bench.sets_aside();
    bench.comes(5);
    bench.reads(2..5);
    let committed = bench.commits();
    assert_eq!(committed.taken, [2, 3, 4, 5]);
    let (partition, clustering, _) = key(&row);
    let gone: Vec<_> = committed.rows.iter().map(key).collect();
    assert_eq!(gone, [(partition, clustering, true)]);
}

#[tokio::test]
async fn a_redrive_of_more_than_a_row_of_the_log_goes_on_batch_by_batch() {
    const MANY: u64 = 1_200;
    let mut bench = Bench::new();
    bench.comes(MANY);
    bench.reads(0..0);
    let row = bench.commits().rows.remove(0);
    bench.redrives(&row);
    let (mut next, mut taken) = (2, Vec::<u64>::new());
    let last = loop {
        if bench.is_reading() {
            bench.reads(next..MANY + 1);
        }
        let committed = bench.commits();
        taken.extend(&committed.taken);
        next = taken.last().map_or(2, |seq| seq + 1);
        if !committed.answers.is_empty() {
            break committed;
        }
        assert!(committed.rows.is_empty(), "not before it has all");
    };
    assert_eq!(taken, (2..=MANY).collect::<Vec<_>>());
    assert_eq!(last.answers, [Ok(MANY - 1)]);
    assert!(last.rows.len() == 1 && last.rows[0].delete);
}

/// The mailbox was forgotten as idle while the log was read.
#[tokio::test]
async fn a_redrive_loads_the_mailbox_that_it_is_for() {
    let mut bench = Bench::new();
    let row = bench.sets_aside();
    bench.redrives(&row);
    bench.shard.mailboxes.remove("bob");
    bench.reads(2..5);
    bare::load_bob(&mut bench.shard);
    bench.reads(1..5);
    assert_eq!(bench.commits().answers, [Ok(4)], "it had lost 1 here");
}

#[test]
fn a_row_of_another_membership_is_another_row() {
    let mut aside = Aside::default();
    let row = |time_ms, since_seq, to_seq| StuckRow {
        log_id: TALK.to_vec().into(),
        user_id: "bob".into(),
        time_ms,
        since_seq,
        to_seq,
        ..Default::default()
    };
    assert_eq!(aside.put(row(1, 1, 5)), row(1, 1, 5));
    assert_eq!(aside.put(row(2, 1, 4)), row(1, 1, 5), "never back");
    assert_eq!(aside.put(row(3, 7, 9)), row(3, 7, 9));
    assert_eq!(aside.newest(row(1, 1, 5)), row(1, 1, 5));
    aside.forget(&row(1, 1, 5));
    assert_eq!(aside.newest(row(3, 7, 8)), row(3, 7, 9), "still known");
    aside.forget(&row(3, 7, 8));
    assert_eq!(aside.newest(row(3, 7, 8)), row(3, 7, 8));
}
