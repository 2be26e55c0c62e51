//! Commits go on elsewhere, under the next epoch or not at all.

use super::*;
use crate::shard::bare::{comes, load_bob, state_for_bob, taken_shard};
use futures_util::{FutureExt, Stream, StreamExt};
use heddle_kit::link::{OutboxOptions, outbox};
use heddle_proto::internal::{
    Commit, CommitOutcome, CommitRequest, CommitStatus, Read, ReadOutcome, ReadRequest, TailQuery,
    read::Query,
};

/// What leaves on one life of the streams.
struct Streams {
    commits: Box<dyn Stream<Item = CommitRequest> + Unpin>,
    reads: Box<dyn Stream<Item = ReadRequest> + Unpin>,
}

impl Streams {
    fn commit(&mut self) -> Option<Commit> {
        let frame = self.commits.next().now_or_never().flatten()?;
        frame.commits.into_iter().next()
    }

    fn reads(&mut self) -> Vec<Read> {
        let frame = self.reads.next().now_or_never().flatten();
        frame.unwrap_or_default().reads
    }
}

/// Streams number `life` to one history-svc are there.
fn connect(shard: &mut Shard, history: usize, life: u64) -> Streams {
    let options = OutboxOptions::default;
    let (commits, commit_frames) = outbox(options(), |commits| CommitRequest { commits });
    let (reads, read_frames) = outbox(options(), |reads| ReadRequest { reads });
    shard.connected(StoreOutboxes {
        commits,
        reads,
        history,
        life,
    });
    Streams {
        commits: Box::new(commit_frames),
        reads: Box::new(read_frames),
    }
}

fn outcome(id: u64, status: CommitStatus) -> CommitOutcome {
    CommitOutcome {
        id,
        status: status as i32,
        ..Default::default()
    }
}

/// A shard whose commit is on its way to history-svc 0, on streams number 1.
fn under_way() -> (Shard, Streams, Commit) {
    let mut shard = taken_shard();
    let mut first = connect(&mut shard, 0, 1);
    comes(&mut shard, state_for_bob(vec![1].into()));
    load_bob(&mut shard);
    shard.flush();
    let commit = first.commit().expect("it left");
    (shard, first, commit)
}

#[tokio::test]
async fn what_was_not_confirmed_is_written_again_as_it_was_and_nobody_hears_of_it() {
    for lost in [false, true] {
        let (mut shard, mut first, sent) = under_way();
        let mut second = connect(&mut shard, 1, 2);
        match lost {
            true => shard.lost(1),
            false => shard.committed(outcome(sent.id, CommitStatus::Fenced)),
        }
        assert!(second.commit().is_none(), "no epoch there yet");
        shard.moved(2, 2);
        let again = second.commit().expect("it is written again");
        assert!(
            again.id > sent.id,
            "late words about the first are nobody's"
        );
        let expected = Commit {
            id: again.id,
            epoch: 2,
            ..sent.clone()
        };
        assert_eq!(again, expected);
        shard.committed(outcome(sent.id, CommitStatus::Fenced));
        assert!(shard.serves() && shard.in_flight.is_some());
        shard.committed(outcome(again.id, CommitStatus::Committed));
        assert!(shard.serves() && shard.in_flight.is_none());
        assert!(first.commit().is_none());
    }
}

#[tokio::test]
async fn commits_go_on_where_they_went_until_the_epoch_is_raised() {
    let (mut shard, mut first, sent) = under_way();
    let mut second = connect(&mut shard, 1, 2);
    shard.committed(outcome(sent.id, CommitStatus::Committed));
    comes(&mut shard, state_for_bob(vec![2].into()));
    shard.flush();
    let next = first.commit().expect("there");
    assert_eq!(next.epoch, 1);
    shard.moved(2, 2);
    assert!(second.commit().is_none(), "its answer may still come");
    shard.committed(outcome(next.id, CommitStatus::Committed));
    comes(&mut shard, state_for_bob(vec![3].into()));
    shard.flush();
    assert_eq!(second.commit().expect("here now").epoch, 2);
    assert_eq!(shard.ownership.map(|owner| owner.since), Some(1));
}

#[tokio::test]
async fn what_an_owner_in_between_may_have_changed_is_forgotten() {
    let (mut shard, _first, _sent) = under_way();
    let mut second = connect(&mut shard, 1, 2);
    shard.lost(1);
    shard.moved(3, 2);
    assert!(!shard.serves() && shard.mailboxes.is_empty() && shard.in_flight.is_none());
    assert!(second.commit().is_none());
}

#[tokio::test]
async fn streams_that_end_and_come_back_to_the_same_one_move_what_was_under_way() {
    let (mut shard, _first, sent) = under_way();
    shard.lost(1);
    assert!(shard.in_flight.is_some(), "nobody is told yet");
    let mut second = connect(&mut shard, 0, 2);
    shard.moved(2, 2);
    assert_eq!(
        second.commit().map(|commit| commit.batches),
        Some(sent.batches)
    );
}

/// As a node drains: the raise that was to come is none of its tasks any more.
#[tokio::test]
async fn a_drain_does_not_wait_for_what_cannot_be_confirmed() {
    let (mut shard, _first, _sent) = under_way();
    let (_queues, mut inputs) = crate::shard::input::queues(1, 1);
    let (own, from_store) = tokio::sync::mpsc::channel(2);
    inputs.store = from_store;
    own.send(StoreInput::Lost(1)).await.expect("room");
    shard.drain(&mut inputs).await;
    assert!(shard.in_flight.is_none());
    drop(own);
}

/// The last answers of streams that were left may fail to come after the next ones are there.
#[tokio::test]
async fn streams_that_end_after_the_next_ones_came_move_what_was_under_way_too() {
    let (mut shard, _first, sent) = under_way();
    let mut second = connect(&mut shard, 0, 2);
    shard.lost(1);
    shard.moved(2, 2);
    let again = second.commit().map(|commit| commit.batches);
    assert_eq!(again, Some(sent.batches));
}

#[tokio::test]
async fn an_older_raise_and_older_streams_count_for_nothing() {
    let (mut shard, _first, _sent) = under_way();
    drop(connect(&mut shard, 1, 2));
    shard.lost(2);
    let mut third = connect(&mut shard, 2, 3);
    shard.moved(2, 2);
    assert!(shard.moving.is_some(), "that was another attempt");
    shard.lost(1);
    shard.moved(2, 3);
    assert!(third.commit().is_some());
}

#[tokio::test]
async fn reads_are_asked_again_under_the_new_epoch() {
    let mut shard = taken_shard();
    let mut first = connect(&mut shard, 0, 1);
    let log = heddle_proto::ids::LogId::group("alice", &[1; 16]);
    shard.load_conversation(log, Vec::new());
    let asked = first.reads().remove(0);
    let mut second = connect(&mut shard, 1, 2);
    let superseded = ReadOutcome {
        id: asked.id,
        code: tonic::Code::Aborted.into(),
        ..Default::default()
    };
    shard.on_read(superseded.clone());
    assert!(shard.serves(), "it was superseded by itself");
    shard.moved(2, 2);
    let again = second.reads().remove(0);
    let epoch = |read: &Read| match &read.query {
        Some(Query::Tail(TailQuery { epoch, .. })) => *epoch,
        _ => 0,
    };
    assert_eq!((epoch(&asked), epoch(&again)), (1, 2));
    shard.on_read(superseded);
    assert!(shard.serves(), "late words are nobody's");
}
