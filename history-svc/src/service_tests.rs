//! The door over a local link, as shards and gateways use it.

use std::sync::Arc;

use heddle_kit::{Link, Tasks};
use heddle_proto::internal::store_service_client::StoreServiceClient;
use heddle_proto::internal::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::contract::{Store, all_rows, batch, commit, log, rows_of};
use crate::leases::LeasesInMemory;
use crate::testing::FaultyStore;
use crate::{EmbeddedStore, HistoryConfig};

struct Door {
    client: StoreServiceClient<Link>,
    store: FaultyStore,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

async fn door(change: impl FnOnce(&mut HistoryConfig)) -> Door {
    let dir = tempfile::tempdir().unwrap();
    let mut config = HistoryConfig {
        disk_free_bytes_min: 0,
        ..HistoryConfig::at(dir.path())
    };
    change(&mut config);
    let store = FaultyStore::new(Arc::new(EmbeddedStore::open(&config).unwrap()));
    let tasks = Tasks::new("history test");
    let door = StoreDoor::new(
        Arc::new(store.clone()),
        Arc::new(LeasesInMemory::default()),
        config,
        tasks.clone(),
    );
    let client = StoreServiceClient::new(Link::local(door.routes()))
        .max_decoding_message_size(FRAME_BYTES_MAX);
    Door {
        client,
        store,
        tasks,
        _dir: dir,
    }
}

impl Door {
    async fn take(&mut self) -> u64 {
        let request = TakeShardsRequest {
            shards: vec![0],
            node: "test".to_owned(),
            nonce: 1,
        };
        self.client
            .take_shards(request)
            .await
            .unwrap()
            .into_inner()
            .epochs[0]
    }

    async fn commits(&mut self) -> (mpsc::Sender<CommitRequest>, Streaming<CommitResponse>) {
        let (send, frames) = mpsc::channel(4096);
        let answers = self
            .client
            .commit(ReceiverStream::new(frames))
            .await
            .unwrap();
        (send, answers.into_inner())
    }

    async fn reads(&mut self) -> (mpsc::Sender<ReadRequest>, Streaming<ReadResponse>) {
        let (send, frames) = mpsc::channel(4096);
        let answers = self.client.read(ReceiverStream::new(frames)).await.unwrap();
        (send, answers.into_inner())
    }
}

fn range(id: u64) -> Read {
    let query = RangeQuery {
        log_id: log(1).to_bytes(),
        from_seq: 1,
        to_seq: 1_000,
        ..RangeQuery::default()
    };
    Read {
        id,
        query: Some(read::Query::Range(query)),
    }
}

#[tokio::test]
async fn a_shard_takes_commits_and_reads_over_its_streams() {
    let mut door = door(|_| {}).await;
    let epoch = door.take().await;
    let (send, mut answers) = door.commits().await;
    for seq in 1..=100 {
        let commits = vec![commit(seq, epoch, vec![batch(log(1), seq, 1)])];
        send.send(CommitRequest { commits }).await.unwrap();
    }
    drop(send);
    let (mut answered, mut frames) = (Vec::new(), 0);
    while let Some(frame) = answers.message().await.unwrap() {
        frames += 1;
        for outcome in frame.outcomes {
            assert_eq!(
                outcome.status(),
                CommitStatus::Committed,
                "{}",
                outcome.message
            );
            answered.push(outcome.id);
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=100).collect::<Vec<_>>());
    assert!(frames < 100, "commits that shared a sync share a frame");

    let (send, mut answers) = door.reads().await;
    let nothing = Read { id: 3, query: None };
    send.send(ReadRequest {
        reads: vec![range(1), range(2), nothing],
    })
    .await
    .unwrap();
    drop(send);
    let mut outcomes = Vec::new();
    while let Some(frame) = answers.message().await.unwrap() {
        outcomes.extend(frame.outcomes);
    }
    outcomes.sort_by_key(|outcome| outcome.id);
    assert_eq!(
        outcomes.iter().map(|one| one.id).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!((outcomes[0].code, outcomes[0].events.len()), (0, 100));
    assert_eq!(outcomes[2].code, i32::from(tonic::Code::InvalidArgument));
    assert_eq!(door.tasks.drain(std::time::Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn more_than_may_be_in_flight_is_refused_not_delayed() {
    let mut door = door(|config| config.commits_in_flight_max = 2).await;
    let epoch = door.take().await;
    door.store
        .faults()
        .delay(std::time::Duration::from_millis(200));
    let (send, mut answers) = door.commits().await;
    for seq in 1..=5 {
        let commits = vec![commit(seq, epoch, vec![batch(log(1), seq, 1)])];
        send.send(CommitRequest { commits }).await.unwrap();
    }
    drop(send);
    let mut statuses = std::collections::BTreeMap::new();
    while let Some(frame) = answers.message().await.unwrap() {
        statuses.extend(frame.outcomes.into_iter().map(|one| (one.id, one.status())));
    }
    let (ok, refused) = (CommitStatus::Committed, CommitStatus::Refused);
    assert_eq!(
        statuses.into_values().collect::<Vec<_>>(),
        [ok, ok, refused, refused, refused]
    );
}

#[tokio::test]
async fn what_was_begun_is_answered_at_a_drain() {
    let mut door = door(|config| config.commits_in_flight_max = 1).await;
    let epoch = door.take().await;
    door.store
        .faults()
        .delay(std::time::Duration::from_millis(300));
    let (send, mut answers) = door.commits().await;
    for seq in 1..=2 {
        let commits = vec![commit(seq, epoch, vec![batch(log(1), seq, 1)])];
        send.send(CommitRequest { commits }).await.unwrap();
    }
    // The second is refused since the first is under way.
    let frame = answers.message().await.unwrap().unwrap();
    assert_eq!(
        (frame.outcomes[0].id, frame.outcomes[0].status()),
        (2, CommitStatus::Refused)
    );
    let draining = door.tasks.drain(std::time::Duration::from_secs(5));
    let (aborted, answer) = tokio::join!(draining, answers.message());
    let outcomes = answer.unwrap().unwrap().outcomes;
    assert_eq!(
        (outcomes[0].id, outcomes[0].status()),
        (1, CommitStatus::Committed)
    );
    assert!(answers.message().await.unwrap().is_none(), "and left alone");
    assert_eq!(aborted, 0);
}

#[tokio::test]
async fn a_draining_service_says_so_and_takes_commits_until_who_makes_them_has_moved() {
    let mut door = door(|_| {}).await;
    let epoch = door.take().await;
    let (_reads, mut read) = door.reads().await;
    let (send, mut answers) = door.commits().await;
    let tasks = door.tasks.clone();
    let draining = tokio::spawn(async move { tasks.drain(Duration::from_secs(5)).await });
    assert!(read.message().await.unwrap().is_none(), "that tells it");
    let commits = vec![commit(1, epoch, vec![batch(log(1), 1, 1)])];
    send.send(CommitRequest { commits }).await.unwrap();
    let outcomes = answers.message().await.unwrap().unwrap().outcomes;
    assert_eq!(outcomes[0].status(), CommitStatus::Committed);
    let refused = door.client.commit(tokio_stream::empty()).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unavailable);
    assert!(!draining.is_finished());
    drop(send);
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(draining.await.unwrap(), 0, "no task had to be aborted");
}

#[tokio::test]
async fn answers_larger_than_what_may_wait_all_come() {
    let mut door = door(|config| config.answers_bytes_max = 4_096).await;
    let epoch = door.take().await;
    let (send, mut answers) = door.commits().await;
    let commits = vec![commit(1, epoch, vec![batch(log(1), 1, 100)])];
    send.send(CommitRequest { commits }).await.unwrap();
    answers.message().await.unwrap().unwrap();
    let (send, mut answers) = door.reads().await;
    const READS: u64 = 2_000;
    for frame in 0..READS / 200 {
        let reads = (0..200).map(|offset| range(200 * frame + offset)).collect();
        send.send(ReadRequest { reads }).await.unwrap();
    }
    drop(send);
    let (mut good, mut bytes) = (0, 0);
    while let Some(frame) = answers.message().await.unwrap() {
        bytes += prost::Message::encoded_len(&frame);
        let outcomes = frame.outcomes.into_iter();
        good += outcomes.filter(|it| it.events.len() == 100).count();
    }
    assert_eq!(good as u64, READS);
    assert!(bytes > 100 * 4_096, "{bytes}");
}

#[tokio::test]
async fn a_caller_that_reads_no_answers_is_told_or_left() {
    let mut door = door(|config| config.reads_in_flight_max = 8).await;
    let epoch = door.take().await;
    let (send, mut answers) = door.commits().await;
    let commits = vec![commit(1, epoch, vec![batch(log(1), 1, 10)])];
    send.send(CommitRequest { commits }).await.unwrap();
    answers.message().await.unwrap().unwrap();
    let (send, mut answers) = door.reads().await;
    for id in 1..=6 {
        let reads = (0..4).map(|offset| range(4 * id + offset)).collect();
        send.send(ReadRequest { reads }).await.unwrap();
    }
    drop(send);
    let (mut good, mut exhausted) = (0, 0);
    while let Ok(Some(frame)) = answers.message().await {
        for outcome in frame.outcomes {
            match tonic::Code::from(outcome.code) {
                tonic::Code::Ok => good += 1,
                tonic::Code::ResourceExhausted => exhausted += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(good >= 8 && good + exhausted <= 24, "{good} {exhausted}");
}

/// How long anything may take.
const SOON: Duration = Duration::from_secs(20);

async fn is_stored(store: &Store, id: u8) -> bool {
    !rows_of(store, all_rows(log(id))).await.0.is_empty()
}

/// Twice as many outcomes wait as commits may be under way; one more, and the stream ends behind
/// them. Another shard is answered all the while.
#[tokio::test]
async fn a_shard_that_reads_no_outcomes_is_left_and_others_are_answered() {
    const IN_FLIGHT_MAX: usize = 8;
    let mut door = door(|config| config.commits_in_flight_max = IN_FLIGHT_MAX).await;
    let epoch = door.take().await;
    let store: Store = Arc::new(door.store.clone());
    let (stalled, mut unread) = door.commits().await;
    let (send, mut answers) = door.commits().await;
    for id in 1..=4 * IN_FLIGHT_MAX as u8 {
        let commits = vec![commit(id.into(), epoch, vec![batch(log(id), 1, 1)])];
        // Who was left may be read no more.
        let _left = stalled.send(CommitRequest { commits }).await;
        let seq = u64::from(id);
        let commits = vec![commit(seq, epoch, vec![batch(log(255), seq, 1)])];
        send.send(CommitRequest { commits }).await.unwrap();
        let answer = tokio::time::timeout(SOON, answers.message()).await;
        let outcome = answer.unwrap().unwrap().unwrap().outcomes.remove(0);
        assert_eq!(
            (outcome.id, outcome.status()),
            (seq, CommitStatus::Committed)
        );
        // That one is stored tells that those before it are answered, but for a few.
        let stored = async {
            while !stalled.is_closed() && !is_stored(&store, id).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, stored).await.unwrap();
    }
    let mut waited = Vec::new();
    while let Some(frame) = tokio::time::timeout(SOON, unread.message())
        .await
        .expect("the stream goes on")
        .unwrap()
    {
        waited.extend(frame.outcomes);
    }
    assert_eq!(waited.len(), 2 * IN_FLIGHT_MAX);
    let committed = |outcome: &CommitOutcome| outcome.status() == CommitStatus::Committed;
    assert!(waited.iter().all(committed));
    drop((stalled, send));
    assert_eq!(door.tasks.drain(SOON).await, 0, "no task had to be aborted");
}
