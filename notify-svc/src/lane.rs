//! Lane: one provider's pushes, from intake to result.
//!
//! `pipeline` puts pushes in and hears what became of them; `queue` says which leaves next,
//! `sender` tries it. Each provider has a lane and a task of its own, so that one that hangs
//! delays no other.
//!
//! Invariant: at most `pushes_max` pushes are in hand, wherever in the lane they are, and at most
//! `concurrency_max` are being sent.

use heddle_proto::v1::PushOutcome;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use heddle_kit::SharedClock;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::LaneConfig;
use crate::job::Job;
use crate::ledger::Outcome;
use crate::provider::PushProvider;
use crate::push::Push;
use crate::queue::Queue;
use crate::sender::{Sender, Step};

const FORSAKEN: &str = "the stream that it came over has ended";
const SUPERSEDED: &str = "a newer push with the same collapse key took its place";

/// The lane's entrance.
pub struct Entrance {
    jobs: mpsc::Sender<Job>,
    places: Arc<Semaphore>,
}

/// Room for some pushes.
pub struct Places(OwnedSemaphorePermit);

impl Entrance {
    /// Room for `count` pushes, if there is any.
    pub fn reserve(&self, count: u32) -> Option<Places> {
        self.places
            .clone()
            .try_acquire_many_owned(count)
            .ok()
            .map(Places)
    }

    /// Puts a push into a reserved place. Gives it back if the lane has stopped.
    pub fn put(&self, push: Push, places: &mut Places) -> Result<(), Box<Push>> {
        let Some(place) = places.0.split(1) else {
            return Err(Box::new(push));
        };
        let job = Job::new(push, Instant::now(), Some(place));
        let put = self.jobs.try_send(job);
        put.map_err(|error| Box::new(error.into_inner().push))
    }
}

pub struct Lane {
    jobs: mpsc::Receiver<Job>,
    queue: Queue<Job>,
    sender: Sender,
    concurrency_max: usize,
}

impl Lane {
    pub fn new(
        config: LaneConfig,
        provider: Arc<dyn PushProvider>,
        clock: SharedClock,
    ) -> (Self, Entrance) {
        let pushes_max = config.pushes_max.clamp(1, Semaphore::MAX_PERMITS);
        let (jobs, taken) = mpsc::channel(pushes_max);
        let places = Arc::new(Semaphore::new(pushes_max));
        let lane = Self {
            jobs: taken,
            queue: Queue::new(&config),
            concurrency_max: config.concurrency_max.max(1),
            sender: Sender::new(config, provider, clock),
        };
        (lane, Entrance { jobs, places })
    }

    /// Sends until `stopping`; then what is being sent is finished, and the rest is given up,
    /// unsettled. `done` hears of every push that is; nothing is tried again that is not `awaited`.
    pub async fn run(
        self,
        done: impl Fn(&Push, Outcome),
        awaited: impl Fn(&Push) -> bool,
        stopping: CancellationToken,
    ) {
        let Self {
            mut jobs,
            mut queue,
            sender,
            concurrency_max,
        } = self;
        let superseded = |job: Option<Job>| {
            if let Some(job) = job {
                let result = job.result(sender.provider(), PushOutcome::Superseded, SUPERSEDED);
                done(&job.leave(), Outcome::Settled(result));
            }
        };
        let mut sending = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            queue.advance(now);
            while sending.len() < concurrency_max
                && let Some(job) = queue.take(now)
            {
                if job.tries > 0 && !awaited(&job.push) {
                    queue.ended(&job);
                    let reason = FORSAKEN.into();
                    done(&job.leave(), Outcome::Lost { reason });
                    continue;
                }
                sending.push(sender.attempt(job));
            }
            let wake_at = queue.wake_at(now, sending.len() < concurrency_max);
            tokio::select! {
                Some((job, step)) = sending.next() => {
                    queue.ended(&job);
                    match step {
                        Step::Settled(result) => done(&job.leave(), Outcome::Settled(result)),
                        Step::AgainAt(until) => superseded(queue.put_back(job, until)),
                    }
                }
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
                job = jobs.recv() => match job {
                    Some(job) => superseded(queue.put(job)),
                    None => break,
                },
                () = stopping.cancelled() => break,
            }
        }
        while let Some((job, step)) = sending.next().await {
            if let Step::Settled(result) = step {
                done(&job.leave(), Outcome::Settled(result));
            }
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
