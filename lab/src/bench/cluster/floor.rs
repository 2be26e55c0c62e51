//! What the transport alone costs at the rates that a cluster reached: the bare relay.
//!
//! One process that stores nothing takes as many messages a second from as many people, with
//! nothing beside it. It sends neither marks nor what tells of them: it is a floor, not an equal.
//!
//! Measured after the cluster's rounds, since it needs their rates, and while the cluster has
//! nothing to do.
//!
//! Invariant: as of the cluster, a load that lost anything has no figure.

use std::path::Path;
use std::time::Duration;

use super::figures::{Figures, STEPS};
use super::users;
use crate::bench::compare::start_relay;
use crate::bench::{BenchError, drive};
use crate::load::{LoadError, Plan};
use crate::relay::client::RelayTransport;

/// Fills in [`Figures::floor_us`].
pub(super) async fn measure(
    figures: &mut Figures,
    load: Duration,
    dir: &Path,
) -> Result<(), BenchError> {
    let (relay, address) = start_relay("bare", dir).await?;
    let transport = RelayTransport::new(&address).map_err(LoadError::from)?;
    for step in STEPS {
        let reached = figures.median(step, |round| Some(round.report.stored_per_second));
        let Some(rate) = reached.filter(|rate| *rate >= 1.0) else {
            continue;
        };
        let mut plan = Plan::paced_pairs(users(step), rate.round() as u32);
        plan.duration = load;
        plan.server_pid = relay.pid();
        match drive(&transport, &plan).await {
            Ok(report) if report.is_complete() => {
                let used = report.server_cpu_us_per_message;
                figures.floor_us.extend(used.map(|used| (step, used)));
            }
            Ok(report) => {
                let failure = format!("the bare relay, {step}: {}", report.losses());
                figures.failures.push(failure);
            }
            Err(error) => {
                let failure = format!("the bare relay, {step}: {error}");
                figures.failures.push(failure);
            }
        }
    }
    Ok(())
}
