//! The link to history-svc: one commit stream and one read stream for all shards of the node.
//!
//! Shards put commits and reads into its outboxes; answers come back into each shard's own queue,
//! found by the shard number in the upper bits of an id. Of several history-svc one is used, and
//! the next when its streams end: shards move their commits there, since an epoch lives in the
//! history-svc that raised it (docs/adr/0011). One that drains ends its read stream and answers
//! commits until the shards have moved.
//!
//! Invariant: every stream that shards heard of has a number of its own, and they hear once of its
//! end, after all answers that came on it; the log hears once of an outage and of its end
//! ([`Told`]).

use crate::shard::input::StoreInput;
use futures_util::future::{BoxFuture, FutureExt};
use heddle_kit::{
    AnyOf, Link, Tasks,
    link::{Opened, Outbox, OutboxOptions, Told, outbox},
};
use heddle_proto::internal::{
    Commit, CommitRequest, CommitResponse, Read, ReadRequest, ReadResponse,
    store_service_client::StoreServiceClient,
};
use std::{sync::Arc, time::Duration};
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
/// How long shards may use the commits of a history-svc that ended its reads, at most.
const LEAVING_MAX: Duration = Duration::from_secs(3);
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
    /// Which of the streams there have been; never 0.
    pub life: u64,
}

/// Answers that still come on a commit stream, until it ends.
type Rest = BoxFuture<'static, Result<(), Status>>;

/// Keeps the link up until the service stops.
pub async fn run(history: AnyOf, shards: Vec<mpsc::Sender<StoreInput>>, tasks: Tasks) {
    let shards: Arc<[_]> = shards.into();
    let (mut failed, mut life, mut told) = (0, 0, Told::new("history"));
    loop {
        let begun = Instant::now();
        life += 1;
        let mut leaves = None;
        let serving = told.through(|opened| async {
            leaves = Some(serve_once(&history, &shards, life, opened).await?);
            Ok(())
        });
        tokio::select! {
            () = tasks.stopping().cancelled() => return,
            () = serving => {}
        }
        // Before the shards hear of it: they move to the one that is next.
        history.failed();
        match leaves {
            None => tell_all(&shards, || StoreInput::Lost(life)).await,
            Some(rest) => {
                tracing::info!("history-svc leaves; commits move to the next one");
                let (shards, stopping) = (shards.clone(), tasks.stopping().clone());
                tasks.spawn_contained("last-commits", async move {
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        _ended = timeout(LEAVING_MAX, rest) => {}
                    }
                    tell_all(&shards, || StoreInput::Lost(life)).await;
                });
            }
        }
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

/// One life of both streams. It breaks, or the history-svc drains, and answers commits until the
/// shards have moved.
async fn serve_once(
    history: &AnyOf,
    shards: &Arc<[mpsc::Sender<StoreInput>]>,
    life: u64,
    opened: Opened,
) -> Result<Rest, Status> {
    let (commits, commit_frames) = outbox(OutboxOptions::default(), |commits| CommitRequest {
        commits,
    });
    let (reads, read_frames) = outbox(OutboxOptions::default(), |reads| ReadRequest { reads });
    let (index, link) = history.chosen();
    let mut client = client(link);
    let commit_answers = client.commit(commit_frames).await?.into_inner();
    let read_answers = client.read(read_frames).await?.into_inner();
    let outboxes = StoreOutboxes {
        commits,
        reads,
        history: index,
        life,
    };
    opened.tell();
    tell_all(shards, || StoreInput::Connected(outboxes.clone())).await;
    // From here on only the shards hold the stream open: it ends as the last has moved.
    drop(outboxes);
    let mut rest = commit_outcomes(commit_answers, shards.clone()).boxed();
    tokio::select! {
        // What has ended altogether does not leave.
        biased;
        ended = &mut rest => Err(ended.err().unwrap_or_else(over)),
        _ended = read_outcomes(read_answers, shards) => Ok(rest),
    }
}

fn over() -> Status {
    Status::unavailable("the stream ended")
}

async fn tell_all(shards: &[mpsc::Sender<StoreInput>], input: impl Fn() -> StoreInput) {
    for shard in shards {
        // A closed queue belongs to a shard that is draining.
        let _ = shard.send(input()).await;
    }
}

async fn commit_outcomes(
    mut answers: Streaming<CommitResponse>,
    shards: Arc<[mpsc::Sender<StoreInput>]>,
) -> Result<(), Status> {
    while let Some(frame) = answers.message().await? {
        for outcome in frame.outcomes {
            // Never waits: a shard's queue has room for all that it may have under way.
            if let Some(shard) = shards.get(shard_of(outcome.id)) {
                let _ = shard.send(StoreInput::Committed(outcome)).await;
            }
        }
    }
    Err(over())
}

async fn read_outcomes(
    mut answers: Streaming<ReadResponse>,
    shards: &[mpsc::Sender<StoreInput>],
) -> Result<(), Status> {
    while let Some(frame) = answers.message().await? {
        for outcome in frame.outcomes {
            if let Some(shard) = shards.get(shard_of(outcome.id)) {
                let _ = shard.send(StoreInput::Read(Box::new(outcome))).await;
            }
        }
    }
    Err(over())
}
