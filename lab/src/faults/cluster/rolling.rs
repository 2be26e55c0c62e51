//! Every process is drained and started again, one after the other, under load.
//!
//! In the plan's order: who is called before who calls, so that nobody meets an older one than
//! itself below it. With an older build the cluster begins there and goes over to the newer one
//! process by process, so that old and new speak to each other all the time (`--older`).
//!
//! Invariant: the next one goes only when the last one takes connections again.

use std::path::Path;
use std::time::Duration;

use super::super::FaultError;
use crate::target::cluster::Cluster;

/// What a process may take to drain.
const GRACE: Duration = Duration::from_secs(30);
/// Between two, for the cluster to settle, as Kubernetes waits for readiness.
const APART: Duration = Duration::from_secs(1);

/// One round.
pub(super) async fn strike(cluster: &mut Cluster, newer: &Path) -> Result<(), FaultError> {
    for index in 0..cluster.len() {
        cluster.replace(index, newer, GRACE).await?;
        tokio::time::sleep(APART).await;
    }
    Ok(())
}
