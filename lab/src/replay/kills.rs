//! SIGKILL after each so many messages, and a start again on the same port and data.
//!
//! Invariant: what was in flight is counted just before the kill.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ReplayError;
use super::ledger::Ledger;
use super::ours::Ours;
use crate::target::TargetError;

/// How often the count of messages is looked at.
const POLL: Duration = Duration::from_millis(2);

/// One SIGKILL.
pub struct Kill {
    /// Of which process.
    pub process: String,
    /// Sends in flight just before.
    pub in_flight: u64,
}

type Ended = Result<(Vec<Kill>, Option<Ours>), TargetError>;

/// Kills the server now and then.
pub struct Killer {
    stop: CancellationToken,
    failed: CancellationToken,
    task: JoinHandle<Ended>,
}

impl Killer {
    /// Begins; without a number it only keeps the server.
    pub fn start(server: Option<Ours>, every: Option<u64>, ledger: Arc<Ledger>) -> Killer {
        let (stop, failed) = (CancellationToken::new(), CancellationToken::new());
        let (stopped, fails) = (stop.clone(), failed.clone());
        let task = tokio::spawn(async move {
            let ended = kill(server, every, ledger, stopped).await;
            if ended.is_err() {
                fails.cancel();
            }
            ended
        });
        Killer { stop, failed, task }
    }

    /// Waits until the server does not come back; [`Killer::stop`] says why.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Ends when the server runs: all kills, and the server.
    pub async fn stop(self) -> Result<(Vec<Kill>, Option<Ours>), ReplayError> {
        self.stop.cancel();
        let ended = self.task.await;
        Ok(ended.map_err(|error| ReplayError::Stuck(format!("the killer failed: {error}")))??)
    }
}

async fn kill(
    mut server: Option<Ours>,
    every: Option<u64>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) -> Ended {
    let mut kills = Vec::new();
    let (Some(every), Some(running)) = (every, &mut server) else {
        stop.cancelled().await;
        return Ok((kills, server));
    };
    let every = every.max(1);
    let mut next = every;
    while !stop.is_cancelled() {
        tokio::time::sleep(POLL).await;
        if ledger.settled.load(Ordering::Relaxed) < next {
            continue;
        }
        let in_flight = ledger.in_flight().0;
        let process = running.kill(kills.len());
        kills.push(Kill { process, in_flight });
        running.restart().await?;
        next = ledger.settled.load(Ordering::Relaxed).max(next) + every;
    }
    Ok((kills, server))
}
