//! Sender: one try of a push, and what follows from the provider's answer.
//!
//! `lane` runs several at once. Invariant: a try ends with a result or with the time of the next,
//! and then the push holds no preview any more.

use heddle_proto::internal::PushKind;
use heddle_proto::v1::{PushOutcome, PushResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heddle_kit::{SharedClock, telemetry};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::config::LaneConfig;
use crate::job::Job;
use crate::payload;
use crate::provider::{Attempt, PushProvider};

/// Bad credentials are said aloud this often, not once per push.
const ALARM_INTERVAL_MS: u64 = 60_000;

/// Makes the tries of one lane.
pub struct Sender {
    provider: Arc<dyn PushProvider>,
    clock: SharedClock,
    config: LaneConfig,
    attempts: Counter<u64>,
    alarmed_ms: AtomicU64,
}

/// What came of one try.
pub enum Step {
    Settled(PushResult),
    AgainAt(Instant),
}

impl Sender {
    pub fn new(config: LaneConfig, provider: Arc<dyn PushProvider>, clock: SharedClock) -> Self {
        Self {
            provider,
            clock,
            config,
            attempts: telemetry::counter("heddle.push.attempts", "Tries of pushes, by outcome"),
            alarmed_ms: AtomicU64::new(0),
        }
    }

    /// The provider's name.
    pub fn provider(&self) -> &'static str {
        self.provider.name()
    }

    /// One try.
    pub async fn attempt(&self, mut job: Job) -> (Job, Step) {
        job.begin(Instant::now());
        let limit = Duration::from_millis(self.config.send_timeout_ms);
        let answer = timeout(limit, self.provider.send(&job.push)).await;
        let attempt = answer.unwrap_or_else(|_late| Attempt::RetryLater {
            reason: "the provider did not answer in time".into(),
            after: None,
        });
        self.count(attempt.label());
        job.push.strip_preview();
        let step = self.judge(&mut job, attempt);
        (job, step)
    }

    fn judge(&self, job: &mut Job, attempt: Attempt) -> Step {
        let settled = |job: &Job, outcome, detail: &str| {
            Step::Settled(job.result(self.provider.name(), outcome, detail))
        };
        match attempt {
            Attempt::Delivered if job.push.kind == PushKind::Test => {
                settled(job, PushOutcome::Delivered, &payload::told(&job.push))
            }
            Attempt::Delivered => settled(job, PushOutcome::Delivered, ""),
            Attempt::TokenDead { reason } => settled(job, PushOutcome::TokenDead, &reason),
            Attempt::Refused { reason } => self.give_up(job, &reason),
            // Who tests waits to hear what is wrong now.
            Attempt::CredentialsBad { reason } | Attempt::RetryLater { reason, .. }
                if job.push.kind == PushKind::Test =>
            {
                self.give_up(job, &reason)
            }
            Attempt::CredentialsBad { reason } => {
                self.alarm(&reason);
                Step::AgainAt(Instant::now() + Duration::from_millis(self.config.backoff_max_ms))
            }
            Attempt::RetryLater { reason, after } => {
                job.failures += 1;
                if job.failures >= self.config.tries_max {
                    return self.give_up(job, &reason);
                }
                let pause = self.backoff().pause(job.failures, after, rand::random());
                Step::AgainAt(Instant::now() + pause)
            }
        }
    }

    /// It becomes a dead letter, which the shard keeps.
    fn give_up(&self, job: &Job, reason: &str) -> Step {
        let provider = self.provider.name();
        tracing::warn!(
            push_id = &*job.push.push_id,
            device = &*job.push.device_id,
            provider,
            tries = job.tries,
            reason,
            "a push is given up"
        );
        Step::Settled(job.result(provider, PushOutcome::DeadLetter, reason))
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
        let alarmed_ms = self.alarmed_ms.load(Ordering::Relaxed);
        if now_ms >= alarmed_ms.saturating_add(ALARM_INTERVAL_MS) {
            self.alarmed_ms.store(now_ms, Ordering::Relaxed);
            let provider = self.provider.name();
            tracing::error!(
                provider,
                reason,
                "the provider does not accept our credentials"
            );
        }
    }
}
