//! SIGKILL at random instants under the mixed workload.
//!
//! The twin of [`super::power`]; [`super::cycles`] does all but the killing. What the page cache
//! holds survives this fault. Of one process everything dies at once; of a cluster one process at
//! random, while the others go on.

use std::collections::BTreeMap;
use std::time::Duration;

use heddle_plan::Size;
use rand::Rng;
use rand::rngs::StdRng;

use super::FaultError;
use super::cycles::{self, CycleOptions, Fault, Shape};
use crate::target::cluster::{Cluster, programs};
use crate::target::{HeddleServer, ServerOptions};

/// How long calls through the SDK may take while services die: 99.9 of 100, and all.
pub(super) const CALLS_WITHIN: (Duration, Duration) =
    (Duration::from_secs(6), Duration::from_secs(10));

struct Kill;

impl Fault for Kill {
    type Subject = HeddleServer;

    fn name(&self) -> String {
        "kill".to_owned()
    }

    async fn strike(
        &mut self,
        server: &mut HeddleServer,
        _: &mut StdRng,
    ) -> Result<(), FaultError> {
        server.kill();
        Ok(())
    }
}

/// How often each service was killed.
#[derive(Default)]
struct KillOne(BTreeMap<String, u32>);

impl Fault for KillOne {
    type Subject = Cluster;

    fn name(&self) -> String {
        "kill-one".to_owned()
    }

    fn calls_within(&self) -> Option<(Duration, Duration)> {
        Some(CALLS_WITHIN)
    }

    async fn strike(
        &mut self,
        cluster: &mut Cluster,
        chance: &mut StdRng,
    ) -> Result<(), FaultError> {
        let killed = cluster.kill(chance.random_range(0..cluster.len()));
        *self.0.entry(killed.unwrap_or_default()).or_default() += 1;
        Ok(())
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(options: &CycleOptions) -> Result<bool, FaultError> {
    if options.shape == Shape::One {
        let program = options.program.clone();
        let mut server = HeddleServer::start(program, ServerOptions::default()).await?;
        return cycles::run(&mut Kill, &mut server, options).await;
    }
    let programs = programs(options.program.as_deref())?;
    let mut cluster = Cluster::start(&programs, Size::default()).await?;
    eprintln!("{} processes, {}", cluster.len(), cluster.stores());
    let mut fault = KillOne::default();
    let clean = cycles::run(&mut fault, &mut cluster, options).await?;
    eprintln!("killed: {:?}", fault.0);
    Ok(clean)
}
