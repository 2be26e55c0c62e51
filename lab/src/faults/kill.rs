//! SIGKILL at random instants under the mixed workload.
//!
//! The twin of [`super::power`]; [`super::cycles`] does all but the killing. What the page cache
//! holds survives this fault. Of one process everything dies at once; of a cluster one process at
//! random, while the others go on, and a client that never repeats is beside the workload.

use std::collections::BTreeMap;
use std::time::Duration;

use heddle_plan::Size;
use rand::Rng;
use rand::rngs::StdRng;

use super::FaultError;
use super::cluster::{HEALED_WITHIN, Raw};
use super::cycles::{self, CycleOptions, CycleReport, Fault, Shape};
use super::probe::Probe;
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

/// One process after the other.
#[derive(Default)]
struct KillOne {
    cycle: u32,
    /// How often each was killed.
    killed: BTreeMap<String, u32>,
    raw: Raw,
}

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
        self.cycle += 1;
        let name = format!("{}-{:04x}", self.cycle, chance.random::<u16>());
        let probe = Probe::begin(cluster.target(), &name).await?;
        let killed = cluster.kill(chance.random_range(0..cluster.len()));
        *self.killed.entry(killed.unwrap_or_default()).or_default() += 1;
        cluster.restart().await?;
        let healed = probe.heals(HEALED_WITHIN).await;
        self.raw.within(healed, |raw| &mut raw.healed_max_ms);
        let (seen, found) = probe.finish().await?;
        self.raw.add(&seen, found);
        Ok(())
    }

    fn report(&self, report: &mut CycleReport) {
        report.raw = Some(self.raw.clone());
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
    eprintln!("killed: {:?}", fault.killed);
    Ok(clean)
}
