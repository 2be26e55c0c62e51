//! Record: what came of the canary's messages, as metrics and in the log.
//!
//! `docs/telemetry.md` lists the metrics; the alarm looks at the time since the last success, which
//! grows whether rounds fail or hang.
//!
//! Invariant: a failure is said once, until a message arrives again.

use super::round::{Lost, Step};
use heddle_kit::telemetry;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// What is measured of one gateway's canary.
pub struct Record {
    latency: Histogram<f64>,
    messages: Counter<u64>,
    success: Arc<Success>,
    failing: bool,
}

/// When a message arrived last; at first: when the gateway started.
struct Success(Mutex<Instant>);

impl Success {
    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn age_s(&self, now: Instant) -> f64 {
        now.saturating_duration_since(*self.lock()).as_secs_f64()
    }
}

impl Record {
    /// Makes the instruments of a gateway that starts now. The age is told as long as this lives.
    pub fn new(now: Instant) -> Self {
        let success = Arc::new(Success(Mutex::new(now)));
        let told = Arc::downgrade(&success);
        // The provider keeps the callback; the handle is not needed.
        let _kept = telemetry::meter()
            .f64_observable_gauge("heddle.canary.success.age")
            .with_unit("s")
            .with_description("Since a message of this gateway's own arrived")
            .with_callback(move |observer| {
                if let Some(success) = told.upgrade() {
                    observer.observe(success.age_s(Instant::now()), &[]);
                }
            })
            .build();
        Self {
            latency: telemetry::seconds(
                "heddle.canary.latency",
                "From the send of this gateway's own message to its delivery into a session",
            ),
            messages: telemetry::counter(
                "heddle.canary.messages",
                "Messages of this gateway's own, by outcome",
            ),
            success,
            failing: false,
        }
    }

    /// A round has ended.
    pub fn take(&mut self, round: Result<Duration, Lost>, now: Instant) {
        let outcome = outcome(round.as_ref().err().map(|lost| lost.step));
        self.messages.add(1, &[KeyValue::new("outcome", outcome)]);
        match round {
            Ok(took) => {
                self.latency.record(took.as_secs_f64(), &[]);
                *self.success.lock() = now;
                if std::mem::take(&mut self.failing) {
                    tracing::info!("messages of this gateway's own arrive again");
                }
            }
            Err(lost) if std::mem::replace(&mut self.failing, true) => {
                tracing::debug!(%lost, "a message of this gateway's own did not arrive");
            }
            Err(lost) => {
                let next = "docs/operations.md: HeddleCanaryLost";
                tracing::warn!(%lost, next, "a message of this gateway's own did not arrive");
            }
        }
    }
}

/// How the metric names it.
fn outcome(failed_at: Option<Step>) -> &'static str {
    match failed_at {
        None => "delivered",
        Some(Step::Conversation) => "no_conversation",
        Some(Step::Session) => "no_session",
        Some(Step::Send) => "not_stored",
        Some(Step::Delivery) => "not_delivered",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Result<Duration, Lost> {
        Err(Lost {
            step: Step::Delivery,
            why: "nothing came".into(),
        })
    }

    #[test]
    fn only_a_success_makes_it_young_again() {
        let start = Instant::now();
        let later = start + Duration::from_secs(30);
        let mut record = Record::new(start);
        record.take(lost(), later);
        assert_eq!((record.failing, record.success.age_s(later)), (true, 30.0));
        record.take(Ok(Duration::from_millis(3)), later);
        assert_eq!((record.failing, record.success.age_s(later)), (false, 0.0));
    }
}
