//! How late this process is: what has arrived for its clients waits as long for a turn.
//!
//! Beside a server on the same cores, a client's times are the server's and its own; this tells
//! them apart.
//!
//! Invariant: one timer, looked at no more often than [`PERIOD`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(20);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Lateness {
    max_us: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Lateness {
    /// Begins to watch; within a runtime.
    pub fn watch() -> Self {
        let max_us = Arc::<AtomicU64>::default();
        let found = max_us.clone();
        let watching = tokio::spawn(async move {
            loop {
                let due = Instant::now() + PERIOD;
                sleep_until(due).await;
                let late_us = due.elapsed().as_micros() as u64;
                found.fetch_max(late_us, Ordering::Relaxed);
            }
        });
        Self { max_us, watching }
    }

    /// The latest that a timer has come since the last call.
    pub fn take_max(&self) -> Duration {
        Duration::from_micros(self.max_us.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runtime_that_is_held_up_is_late() {
        let lateness = Lateness::watch();
        tokio::task::yield_now().await;
        // tidy: allow-sleep holds up the runtime, which is what is to be seen
        std::thread::sleep(5 * PERIOD);
        let mut late = Duration::ZERO;
        while late.is_zero() {
            tokio::task::yield_now().await;
            late = lateness.take_max().max(late);
        }
        assert!(late >= 2 * PERIOD, "{late:?}");
    }
}
