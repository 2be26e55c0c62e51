//! Waiting for a condition, with a deadline: never for a time.

use std::{future::Future, time::Duration};
use tokio::time::Instant;

/// How long a scenario waits for what must come, by default.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer; panics with `what` when patience is over.
pub async fn eventually<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await; // tidy: allow-sleep polls a condition
    }
}
