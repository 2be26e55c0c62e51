//! Drill: live deliveries are dropped while a file is there.
//!
//! Live deliveries are hints (P8): whoever misses one reads it from the store within a heartbeat.
//! Operators and the fault suites see here that this is so.
//!
//! Invariant: without the setting nothing is looked at and nothing is dropped.

use crate::edge::Edge;
use heddle_kit::Tasks;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the file is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Looks for the file until `stop`.
pub fn start(edge: &Arc<Edge>, tasks: &Tasks, stop: CancellationToken) {
    let Some(file) = edge.options.drop_deliveries_file.clone() else {
        return;
    };
    let edge = edge.clone();
    tasks.spawn("drill", async move {
        loop {
            let drop = tokio::fs::try_exists(&file).await.unwrap_or(false);
            if edge.shards.dropping.swap(drop, Ordering::Relaxed) != drop {
                tracing::warn!(file, drop, "a drill drops live deliveries, or no more");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
        }
    });
}
