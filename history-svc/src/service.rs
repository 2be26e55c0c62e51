//! The service: the store's door on the wire.
//!
//! A stream's handler answers at once and leaves a task behind that reads frames and never waits
//! for the store: each frame becomes a future beside the reading. Commits of one stream reach the
//! store in the order of their frames, since the store takes its order from the calls.
//!
//! Invariant: every item of every frame is answered exactly once while the stream lives; what is
//! in flight is bounded per stream, and what is beyond the bound is refused, not delayed. Reads
//! begin only while there is room for their answers, so that no number of large ones ends a stream.
//! A service that drains ends its streams of reads, which says so, and takes commits until those
//! who make them have moved on (docs/adr/0011).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use heddle_kit::Tasks;
use heddle_kit::link::{Outbox, OutboxOptions, outbox};
use heddle_proto::internal::store_service_server::{StoreService, StoreServiceServer};
use heddle_proto::internal::{
    Commit, CommitOutcome, CommitRequest, CommitResponse, CommitStatus, LeaseRequest,
    LeaseResponse, Read, ReadOutcome, ReadRequest, ReadResponse, TakeShardsRequest,
    TakeShardsResponse,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::config::HistoryConfig;
use crate::data_loss;
use crate::leases::{LeaseError, Leases};
use crate::query;
use crate::store::{EventStore, ReadError, StoreError, outcome};

/// A frame of commits may be this large; shards keep below it (a batch is 1 MiB at most).
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// Reads of one stream that are at work or answered into full outboxes at once, by frames and by
/// reads of a frame; the others wait for their turn.
const FRAMES_AT_ONCE: usize = 4;
const READS_AT_ONCE: usize = 64;
/// How long a service that drains still takes the commits of who has not moved on, at most.
const LEAVING_MAX: Duration = Duration::from_secs(2);
/// Shards named in one request to take them.
const TAKE_SHARDS_MAX: usize = 65_536;

/// The store behind the wire. Cheap to clone.
#[derive(Clone)]
pub struct StoreDoor {
    store: Arc<dyn EventStore>,
    leases: Arc<dyn Leases>,
    config: Arc<HistoryConfig>,
    tasks: Tasks,
}

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl StoreDoor {
    /// Puts a store and leases behind the wire; its streams are tasks of `tasks`.
    pub fn new(
        store: Arc<dyn EventStore>,
        leases: Arc<dyn Leases>,
        config: HistoryConfig,
        tasks: Tasks,
    ) -> Self {
        data_loss::watch();
        Self {
            store,
            leases,
            config: Arc::new(config),
            tasks,
        }
    }

    /// The gRPC routes.
    pub fn routes(self) -> Routes {
        let server = StoreServiceServer::new(self)
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        Routes::new(server)
    }

    /// A service that drains begins no streams: who comes now would be left in the middle.
    fn refuse_at_a_drain(&self) -> Result<(), Status> {
        match self.tasks.stopping().is_cancelled() {
            true => Err(Status::unavailable("this process drains; use another one")),
            false => Ok(()),
        }
    }

    fn outbox_options(&self, items_max: usize) -> OutboxOptions {
        OutboxOptions {
            items_max,
            bytes_max: self.config.answers_bytes_max,
        }
    }
}

#[tonic::async_trait]
impl StoreService for StoreDoor {
    type CommitStream = Frames<CommitResponse>;
    type ReadStream = Frames<ReadResponse>;

    async fn commit(
        &self,
        request: Request<Streaming<CommitRequest>>,
    ) -> Result<Response<Self::CommitStream>, Status> {
        self.refuse_at_a_drain()?;
        // Twice the bound, so that refusals find room too; see `CommitLink::refuse`.
        let options = self.outbox_options(2 * self.config.commits_in_flight_max);
        let (answers, stream) = outbox(options, |outcomes| Ok(CommitResponse { outcomes }));
        let link = CommitLink {
            store: self.store.clone(),
            answers,
            in_flight: FuturesUnordered::new(),
            in_flight_len: 0,
            in_flight_max: self.config.commits_in_flight_max,
        };
        let stopping = self.tasks.stopping().clone();
        let frames = request.into_inner();
        self.tasks
            .spawn_contained("commit stream", link.run(frames, stopping));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn read(
        &self,
        request: Request<Streaming<ReadRequest>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        self.refuse_at_a_drain()?;
        let options = self.outbox_options(2 * self.config.reads_in_flight_max);
        let (answers, stream) = outbox(options, |outcomes| Ok(ReadResponse { outcomes }));
        let link = ReadLink {
            store: self.store.clone(),
            answers,
            at_work: Semaphore::new(FRAMES_AT_ONCE),
            in_flight_max: self.config.reads_in_flight_max,
        };
        let stopping = self.tasks.stopping().clone();
        let frames = request.into_inner();
        self.tasks.spawn_contained("read stream", async move {
            tokio::select! {
                () = link.run(frames) => {}
                () = stopping.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn take_shards(
        &self,
        request: Request<TakeShardsRequest>,
    ) -> Result<Response<TakeShardsResponse>, Status> {
        let TakeShardsRequest {
            shards,
            node,
            nonce,
        } = request.into_inner();
        if shards.is_empty() || shards.len() > TAKE_SHARDS_MAX {
            let text = format!(
                "shards: {} named; name 1 to {TAKE_SHARDS_MAX}",
                shards.len()
            );
            return Err(Status::invalid_argument(text));
        }
        tracing::info!(node, nonce, shards = shards.len(), "shards are taken");
        match self.store.take_shards(shards).await {
            Ok(epochs) => Ok(Response::new(TakeShardsResponse { epochs })),
            Err(error @ StoreError::Refused(_)) => Err(Status::unavailable(error.to_string())),
            Err(error @ StoreError::Unknown(_)) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn lease(
        &self,
        request: Request<LeaseRequest>,
    ) -> Result<Response<LeaseResponse>, Status> {
        let lease = request.into_inner();
        if lease.node.is_empty() || lease.owned.len() > TAKE_SHARDS_MAX {
            return Err(Status::invalid_argument("node: a lease needs a name"));
        }
        match self.leases.renew(lease).await {
            Ok(nodes) => Ok(Response::new(LeaseResponse { nodes })),
            Err(error @ (LeaseError::Superseded(_) | LeaseError::Shards { .. })) => {
                Err(Status::failed_precondition(error.to_string()))
            }
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}

/// One stream of commits.
struct CommitLink {
    store: Arc<dyn EventStore>,
    answers: Outbox<CommitOutcome>,
    in_flight: FuturesUnordered<BoxFuture<'static, Vec<CommitOutcome>>>,
    in_flight_len: usize,
    in_flight_max: usize,
}

impl CommitLink {
    /// Takes frames until the peer ends, which a draining service waits for: its streams of reads
    /// have ended by then, so that it is known. What was begun is finished and answered.
    async fn run(mut self, mut frames: Streaming<CommitRequest>, stopping: CancellationToken) {
        let mut open = true;
        let mut left_alone = pin!(async {
            stopping.cancelled().await;
            tokio::time::sleep(LEAVING_MAX).await;
        });
        while open || !self.in_flight.is_empty() {
            tokio::select! {
                Some(outcomes) = self.in_flight.next() => self.answer(outcomes),
                frame = frames.next(), if open => match frame {
                    Some(Ok(CommitRequest { commits })) => self.take(commits),
                    Some(Err(_)) | None => open = false,
                },
                () = &mut left_alone, if open => open = false,
            }
        }
    }

    /// Hands a frame to the store; the place in the order is taken here, not when polled.
    fn take(&mut self, commits: Vec<Commit>) {
        if self.in_flight_len + commits.len() > self.in_flight_max {
            let max = self.in_flight_max;
            let text = format!("more than {max} commits of this stream wait; send fewer at once");
            let refuse = |commit: Commit| outcome(commit.id, CommitStatus::Refused, text.clone());
            self.send(commits.into_iter().map(refuse).collect());
            return;
        }
        self.in_flight_len += commits.len();
        self.in_flight.push(self.store.commit(commits));
    }

    /// Answers what came back, and with it all else that the same sync has finished.
    fn answer(&mut self, mut outcomes: Vec<CommitOutcome>) {
        while let Some(Some(more)) = self.in_flight.next().now_or_never() {
            outcomes.extend(more);
        }
        self.in_flight_len -= outcomes.len();
        self.send(outcomes);
    }

    fn send(&self, outcomes: Vec<CommitOutcome>) {
        if !self.answers.try_send_all(outcomes).is_empty() {
            // The peer reads no answers but sends on: it gets no promise that it did not hear.
            self.answers.close();
        }
    }
}

/// One stream of reads.
struct ReadLink {
    store: Arc<dyn EventStore>,
    answers: Outbox<ReadOutcome>,
    at_work: Semaphore,
    in_flight_max: usize,
}

impl ReadLink {
    async fn run(self, mut frames: Streaming<ReadRequest>) {
        let (mut in_flight, mut in_flight_len, mut open) = (FuturesUnordered::new(), 0, true);
        while open || !in_flight.is_empty() {
            tokio::select! {
                Some(answered) = in_flight.next() => in_flight_len -= answered,
                frame = frames.next(), if open => match frame {
                    Some(Ok(ReadRequest { reads })) => {
                        if in_flight_len + self.answers.len() + reads.len() > self.in_flight_max {
                            reads.iter().for_each(|read| self.exhausted(read.id));
                            continue;
                        }
                        in_flight_len += reads.len();
                        in_flight.push(self.frame(reads));
                    }
                    Some(Err(_)) | None => open = false,
                },
            }
        }
    }

    /// Answers one frame, as there is room for answers; returns how many reads it had.
    async fn frame(&self, mut reads: Vec<Read>) -> usize {
        let count = reads.len();
        while !reads.is_empty() {
            let rest = reads.split_off(reads.len().min(READS_AT_ONCE));
            let _turn = self.at_work.acquire().await;
            self.answers.room().await;
            let answer = |outcome| self.answers.send_permitted(outcome);
            query::run(&*self.store, reads, answer).await;
            reads = rest;
        }
        count
    }

    fn exhausted(&self, id: u64) {
        let text = "too many answers of this stream wait to be read".to_owned();
        let refusal = query::failure(id, &ReadError::Exhausted(text));
        if self.answers.try_send(refusal).is_err() {
            // Not even room for a refusal: the peer does not read, and will not get all answers.
            self.answers.close();
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
