//! The link to history-svc: one commit stream and one read stream for all shards of the node.
//!
//! Shards put commits and reads into its outboxes; answers come back into each shard's own queue,
//! found by the shard number in the upper bits of an id. Of several history-svc one is used, and
//! the next when its streams end: shards take themselves again there, since an epoch lives in the
//! history-svc that raised it (docs/adr/0011).
//!
//! Invariant: when a stream ends, every shard hears that what was under way is lost before it hears
//! of the new stream.

use crate::shard::input::StoreInput;
use heddle_kit::{
    AnyOf, Link, Tasks,
    link::{Outbox, OutboxOptions, outbox},
};
use heddle_proto::internal::{
    Commit, CommitRequest, CommitResponse, Read, ReadRequest, ReadResponse,
    store_service_client::StoreServiceClient,
};
use std::{pin::pin, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{Status, Streaming};

/// The largest frame taken from history-svc, in bytes.
pub const STORE_FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long to wait before a lost link is tried again, in milliseconds.
pub const RETRY_DELAY_MS: u64 = 200;
/// A link that was up for so long counts as good: who stands in for it is tried at once.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// How long commits under way are waited for once reads have ended.
const LAST_ANSWERS: Duration = Duration::from_millis(300);
/// An id's upper bits say which shard it belongs to.
const SHARD_BITS: u32 = 48;

/// The first id of a shard; the next ones follow.
pub fn first_id(shard: u32) -> u64 {
    (u64::from(shard) << SHARD_BITS) + 1
}

/// The number of the shard that an id belongs to.
pub fn shard_of(id: u64) -> usize {
    (id >> SHARD_BITS) as usize
}

/// A client for history-svc over `link`.
pub fn client(link: Link) -> StoreServiceClient<Link> {
    StoreServiceClient::new(link)
        .max_decoding_message_size(STORE_FRAME_BYTES_MAX)
        .max_encoding_message_size(STORE_FRAME_BYTES_MAX)
}

/// Where a shard puts its commits and reads.
#[derive(Clone)]
pub struct StoreOutboxes {
    /// Commits, in order.
    pub commits: Outbox<Commit>,
    /// Reads.
    pub reads: Outbox<Read>,
    /// Which history-svc it is.
    pub history: usize,
}

/// Keeps the link up until the service stops.
pub async fn run(history: AnyOf, shards: Vec<mpsc::Sender<StoreInput>>, tasks: Tasks) {
    let mut failed = 0;
    loop {
        let begun = Instant::now();
        let session = serve_once(&history, &shards);
        tokio::select! {
            () = tasks.stopping().cancelled() => return,
            ended = session => {
                let status = ended.err();
                tracing::warn!(?status, "the link to history-svc ended; trying again");
            }
        }
        // Before the shards hear of it: they take themselves again at the one that is next.
        history.failed();
        tell_all(&shards, || StoreInput::Lost).await;
        failed = if begun.elapsed() < GOOD_AFTER {
            failed + 1
        } else {
            1
        };
        if failed < history.count() {
            continue;
        }
        tokio::select! {
            () = tasks.stopping().cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(RETRY_DELAY_MS)) => {}
        }
    }
}

/// One life of both streams.
async fn serve_once(history: &AnyOf, shards: &[mpsc::Sender<StoreInput>]) -> Result<(), Status> {
    let (commits, commit_frames) = outbox(OutboxOptions::default(), |commits| CommitRequest {
        commits,
    });
    let (reads, read_frames) = outbox(OutboxOptions::default(), |reads| ReadRequest { reads });
    let (index, link) = history.chosen();
    let mut client = client(link);
    let mut commit_answers = client.commit(commit_frames).await?.into_inner();
    let mut read_answers = client.read(read_frames).await?.into_inner();
    let outboxes = StoreOutboxes {
        commits,
        reads,
        history: index,
    };
    tell_all(shards, || StoreInput::Connected(outboxes.clone())).await;
    let commits = commit_outcomes(&mut commit_answers, shards);
    let mut commits = pin!(commits);
    tokio::select! {
        ended = &mut commits => ended,
        ended = read_outcomes(&mut read_answers, shards) => {
            // A history-svc that drains still answers the commits that it has.
            drop(timeout(LAST_ANSWERS, commits).await);
            ended
        }
    }
}

async fn tell_all(shards: &[mpsc::Sender<StoreInput>], input: impl Fn() -> StoreInput) {
    for shard in shards {
        // A closed queue belongs to a shard that is draining.
        let _ = shard.send(input()).await;
    }
}

async fn commit_outcomes(
    answers: &mut Streaming<CommitResponse>,
    shards: &[mpsc::Sender<StoreInput>],
) -> Result<(), Status> {
    while let Some(frame) = answers.message().await? {
        for outcome in frame.outcomes {
            // Never waits: a shard's queue has room for all that it may have under way.
            if let Some(shard) = shards.get(shard_of(outcome.id)) {
                let _ = shard.send(StoreInput::Committed(outcome)).await;
            }
        }
    }
    Err(Status::unavailable("the commit stream ended"))
}

async fn read_outcomes(
    answers: &mut Streaming<ReadResponse>,
    shards: &[mpsc::Sender<StoreInput>],
) -> Result<(), Status> {
    while let Some(frame) = answers.message().await? {
        for outcome in frame.outcomes {
            if let Some(shard) = shards.get(shard_of(outcome.id)) {
                let _ = shard.send(StoreInput::Read(Box::new(outcome))).await;
            }
        }
    }
    Err(Status::unavailable("the read stream ended"))
}
