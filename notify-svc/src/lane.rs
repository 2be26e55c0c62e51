//! Lane: one provider's queue, what is being sent over it, and what waits for another try.
//!
//! `pipeline` puts pushes in and hears what became of them. Each provider has a lane and a task of
//! its own, so that one that hangs delays no other.
//!
//! Invariant: at most `pushes_max` pushes are in hand, wherever in the lane they are, and at most
//! `concurrency_max` are being sent.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use heddle_kit::{SharedClock, telemetry};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::LaneConfig;
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::ledger::DeviceOutcome;
use crate::provider::{Attempt, PushProvider};
use crate::push::Push;

/// Bad credentials are said aloud this often, not once per push.
const ALARM_INTERVAL_MS: u64 = 60_000;

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
    pub fn put(&self, push: Push, places: &mut Places) -> Result<(), Push> {
        let Some(place) = places.0.split(1) else {
            return Err(push);
        };
        let job = Job {
            push,
            tries: 0,
            _place: place,
        };
        self.jobs
            .try_send(job)
            .map_err(|error| error.into_inner().push)
    }
}

/// A push and where it stands.
struct Job {
    push: Push,
    /// Tries that have failed.
    tries: u32,
    /// Freed when the push leaves the lane.
    _place: OwnedSemaphorePermit,
}

/// A job between two tries.
struct Waiting {
    until: Instant,
    job: Job,
}

impl Ord for Waiting {
    /// The one that is due first is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.until.cmp(&self.until)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until
    }
}

impl Eq for Waiting {}

/// What came of one try.
enum Step {
    Done(Push, DeviceOutcome),
    Again(Waiting),
}

pub struct Lane {
    jobs: mpsc::Receiver<Job>,
    sender: Sender,
}

impl Lane {
    pub fn new(
        config: LaneConfig,
        provider: Arc<dyn PushProvider>,
        dead_letters: Arc<dyn DeadLetters>,
        clock: SharedClock,
    ) -> (Self, Entrance) {
        let pushes_max = config.pushes_max.clamp(1, Semaphore::MAX_PERMITS);
        let (queue, jobs) = mpsc::channel(pushes_max);
        let places = Arc::new(Semaphore::new(pushes_max));
        let sender = Sender {
            provider,
            dead_letters,
            clock,
            config,
            attempts: telemetry::counter("heddle.push.attempts", "Tries of pushes, by outcome"),
            alarmed_ms: AtomicU64::new(0),
        };
        (
            Self { jobs, sender },
            Entrance {
                jobs: queue,
                places,
            },
        )
    }

    /// Sends until `stopping`; then what is being sent is finished, and the rest is given up,
    /// unsettled. `done` hears of every push that is.
    pub async fn run(self, done: impl Fn(&Push, DeviceOutcome), stopping: CancellationToken) {
        let Self { mut jobs, sender } = self;
        let concurrency_max = sender.config.concurrency_max.max(1);
        let mut sending = FuturesUnordered::new();
        let mut waiting = BinaryHeap::<Waiting>::new();
        loop {
            let room = sending.len() < concurrency_max;
            let due = waiting.peek().map(|next| next.until);
            tokio::select! {
                Some(step) = sending.next() => match step {
                    Step::Done(push, outcome) => done(&push, outcome),
                    Step::Again(job) => waiting.push(job),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if room && due.is_some() => {
                    let next = waiting.pop();
                    sending.extend(next.map(|next| sender.attempt(next.job)));
                }
                job = jobs.recv(), if room => match job {
                    Some(job) => sending.push(sender.attempt(job)),
                    None => break,
                },
                () = stopping.cancelled() => break,
            }
        }
        while let Some(step) = sending.next().await {
            if let Step::Done(push, outcome) = step {
                done(&push, outcome);
            }
        }
    }
}

/// Makes the tries of one lane.
struct Sender {
    provider: Arc<dyn PushProvider>,
    dead_letters: Arc<dyn DeadLetters>,
    clock: SharedClock,
    config: LaneConfig,
    attempts: Counter<u64>,
    alarmed_ms: AtomicU64,
}

impl Sender {
    /// One try, and what follows from it.
    async fn attempt(&self, mut job: Job) -> Step {
        let limit = Duration::from_millis(self.config.send_timeout_ms);
        let answer = timeout(limit, self.provider.send(&job.push)).await;
        let attempt = answer.unwrap_or_else(|_late| Attempt::RetryLater {
            reason: "the provider did not answer in time".into(),
            after: None,
        });
        self.count(attempt.label());
        match attempt {
            Attempt::Delivered => Step::Done(job.push, DeviceOutcome::Delivered),
            Attempt::TokenDead { reason } => {
                let registration = job.push.dead_registration();
                let outcome = DeviceOutcome::TokenDead {
                    reason,
                    registration,
                };
                Step::Done(job.push, outcome)
            }
            Attempt::Refused { reason } => self.give_up(job, reason).await,
            Attempt::CredentialsBad { reason } => {
                self.alarm(&reason);
                let pause = Duration::from_millis(self.config.backoff_max_ms);
                Step::Again(Waiting {
                    until: Instant::now() + pause,
                    job,
                })
            }
            Attempt::RetryLater { reason, after } => {
                job.tries += 1;
                if job.tries >= self.config.tries_max {
                    return self.give_up(job, reason).await;
                }
                let pause = self.backoff().pause(job.tries, after, rand::random());
                Step::Again(Waiting {
                    until: Instant::now() + pause,
                    job,
                })
            }
        }
    }

    /// Writes a dead letter instead.
    async fn give_up(&self, job: Job, reason: String) -> Step {
        let Job { push, tries, .. } = job;
        tracing::warn!(
            push_id = &*push.push_id,
            device = &*push.device_id,
            provider = self.provider.name(),
            tries,
            reason,
            "a push is given up"
        );
        let letter = DeadLetter {
            push: push.clone(),
            provider: self.provider.name(),
            reason: reason.clone(),
            tries,
            time_ms: self.clock.now_ms(),
        };
        let outcome = match self.dead_letters.put(letter).await {
            Ok(()) => DeviceOutcome::DeadLettered { reason },
            Err(error) => DeviceOutcome::Lost {
                reason: error.to_string(),
            },
        };
        Step::Done(push, outcome)
    }

    fn backoff(&self) -> Backoff {
        Backoff {
            base: Duration::from_millis(self.config.backoff_base_ms),
            max: Duration::from_millis(self.config.backoff_max_ms),
        }
    }

    fn count(&self, outcome: &'static str) {
        let provider = KeyValue::new("provider", self.provider.name());
        self.attempts
            .add(1, &[provider, KeyValue::new("outcome", outcome)]);
    }

    fn alarm(&self, reason: &str) {
        let now_ms = self.clock.now_ms();
        let alarmed_ms = self.alarmed_ms.load(Memory::Relaxed);
        if now_ms >= alarmed_ms.saturating_add(ALARM_INTERVAL_MS) {
            self.alarmed_ms.store(now_ms, Memory::Relaxed);
            let provider = self.provider.name();
            tracing::error!(
                provider,
                reason,
                "the provider does not accept our credentials"
            );
        }
    }
}
