//! Connect: keeps a link's stream open.
//!
//! Each link gives the one thing that differs: how to run a connection until it ends, and when its
//! stream is open. Here is the waiting in between; the log hears of an outage once ([`Told`]).
//!
//! Invariant: a peer that is away is asked again at a bounded pace, for ever, until the gateway
//! stops.

use heddle_kit::link::{Opened, Told};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The first wait after a connection has ended.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Runs connections one after another until `stop`.
pub async fn keep<F, C>(link: &'static str, stop: CancellationToken, mut connection: F)
where
    F: FnMut(Opened) -> C,
    C: Future<Output = Result<(), Status>>,
{
    let mut told = Told::new(link);
    let mut wait = WAIT_MIN;
    loop {
        let begun = Instant::now();
        tokio::select! {
            () = told.through(&mut connection) => {}
            () = stop.cancelled() => return,
        }
        wait = if begun.elapsed() > WAIT_MAX {
            WAIT_MIN
        } else {
            (wait * 2).min(WAIT_MAX)
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}
