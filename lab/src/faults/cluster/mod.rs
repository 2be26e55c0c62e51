//! Faults of a cluster beyond the death of one process: its engines, pauses, everything at once.
//!
//! [`engines`] strikes what lies below, [`deliveries`] the link between shards and gateways,
//! [`duplicates`] the owners of what is sent many times at once, [`reconnect`] thousands of
//! sessions, [`rolling`] one process after the other, [`partition`] the links of a chat node.
//! [`super::cycles`] brings the workload and judges it; beside it a [`super::probe`] that never
//! repeats a call says what clients see, and how long nothing is stored. Each strike ends when all
//! runs again.
//!
//! Invariant: a strike leaves the cluster whole; what it found beyond the checker's verdicts is in
//! its [`Raw`].

mod deliveries;
mod duplicates;
mod engines;
mod partition;
mod reconnect;
mod rolling;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use heddle_plan::Size;
use rand::Rng;
use rand::rngs::StdRng;
use serde::Serialize;

use super::FaultError;
use super::cycles::{self, CycleOptions, CycleReport, Fault, Shape};
use super::kill::CALLS_WITHIN;
use super::probe::{Probe, Seen};
use super::readback::Found;
use crate::process::network::Network;
use crate::target::cluster::{Cluster, programs};
use crate::target::engines::REDIS;

/// Before and after a fault all goes well for so long.
const CALM: Duration = Duration::from_secs(2);
/// How long Redis is away, where it is for long.
const REDIS_AWAY: Duration = Duration::from_secs(60);
/// Stored again after the engines are ready, at the latest.
pub(super) const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// SIGKILL to one node of Cassandra out of three
    CassandraNode,
    /// One node of Cassandra stopped or killed for a while: no client sees an error. Then two
    CassandraDown,
    /// SIGKILL to Redis
    Redis,
    /// Redis forgets everything
    RedisFlush,
    /// Redis is away for a minute
    RedisDown,
    /// SIGSTOP to a chat node for three lease times, then SIGCONT
    Pause,
    /// SIGKILL to every process, engines among them
    Everything,
    /// Gateways drop all live deliveries for a minute
    DropDeliveries,
    /// The same message many times at once, through all gateways, while owners are killed
    DuplicateSends,
    /// Thousands of sessions are dropped at once and come back
    Reconnect,
    /// Every process is drained and started again, one after the other
    Rolling,
    /// A chat node is cut off from history, from gateways or from its peers, one way and both
    Partition,
}

/// How often, and what with.
#[derive(Clone, Debug, Args)]
pub struct RollingOptions {
    /// As in every suite.
    #[command(flatten)]
    pub cycles: CycleOptions,
    /// Where the services' programs of an older build lie: the cluster begins with them, and goes
    /// over to the newer ones process by process
    #[arg(long, value_name = "DIR")]
    pub older: Option<PathBuf>,
}

/// What clients saw beyond the checker's history.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Raw {
    /// Sends of the client that never repeats: OK.
    pub ok: u64,
    /// Its refusals by status.
    pub refused: BTreeMap<String, u64>,
    /// Its connections that broke.
    pub broken: u64,
    /// Refusals that no client should see.
    pub forbidden: u64,
    /// Told OK and not there.
    pub lost: u64,
    /// There without the field that no server knows.
    pub fields_lost: u64,
    /// Stored twice, or under two seqs, of what was sent many times at once.
    pub doubled: u64,
    /// Messages that were sent many times at once.
    pub duplicated_ids: u64,
    /// Errors where there was to be none.
    pub errors_unexpected: u64,
    /// Times that something was not right again in time.
    pub late: u64,
    /// The longest time without an OK, in milliseconds.
    pub stall_max_ms: u64,
    /// The longest time until an OK after the engines were ready, in milliseconds.
    pub healed_max_ms: u64,
    /// The longest time until presence was right again, in milliseconds.
    pub present_max_ms: u64,
    /// The longest time from an OK until another device had the message while live deliveries were
    /// dropped, in milliseconds.
    pub seen_max_ms: u64,
    /// The longest time until thousands of sessions had resumed, in milliseconds.
    pub resumed_max_ms: u64,
    /// The most that a gateway's memory had grown a minute later, in percent.
    pub growth_max_percent: u64,
}

impl Raw {
    /// Nothing that must not be.
    pub fn is_clean(&self) -> bool {
        let wrong = self.forbidden + self.lost + self.fields_lost + self.doubled;
        wrong + self.errors_unexpected + self.late == 0
    }

    pub(super) fn add(&mut self, seen: &Seen, found: Found) {
        self.ok += seen.stored.len() as u64;
        for (code, count) in &seen.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
        self.broken += seen.broken;
        for words in &seen.forbidden {
            eprintln!("  no client may see this: {words}");
        }
        self.forbidden += seen.forbidden.len() as u64;
        self.lost += found.lost;
        self.fields_lost += found.fields_lost;
        self.stall_max_ms = self.stall_max_ms.max(seen.stall_max_ms);
    }

    pub(super) fn within(&mut self, took: Option<Duration>, longest: fn(&mut Self) -> &mut u64) {
        match took {
            Some(took) => {
                let longest = longest(self);
                *longest = (*longest).max(took.as_millis() as u64);
            }
            None => self.late += 1,
        }
    }
}

struct Strikes {
    kind: Kind,
    cycle: u32,
    raw: Raw,
    /// How often which links were cut.
    cuts: BTreeMap<String, u32>,
    /// Where the programs lie that are rolled out.
    newer: PathBuf,
}

impl Fault for Strikes {
    type Subject = Cluster;

    fn name(&self) -> String {
        let value = self.kind.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    async fn strike(
        &mut self,
        cluster: &mut Cluster,
        chance: &mut StdRng,
    ) -> Result<(), FaultError> {
        self.cycle += 1;
        let name = format!("{}-{:04x}", self.cycle, chance.random::<u16>());
        let probe = Probe::begin(cluster.target(), &name).await?;
        tokio::time::sleep(CALM).await;
        match self.kind {
            Kind::CassandraNode => self.node(cluster, &probe, chance).await?,
            Kind::CassandraDown => self.nodes(cluster, &probe, chance).await?,
            Kind::Redis => self.redis(cluster, CALM, &name).await?,
            Kind::RedisDown => self.redis(cluster, REDIS_AWAY, &name).await?,
            Kind::RedisFlush => self.flush(cluster, &name).await?,
            Kind::Pause => engines::pause(cluster, chance).await?,
            Kind::DropDeliveries => deliveries::strike(cluster, &name, &mut self.raw).await?,
            Kind::DuplicateSends => {
                duplicates::strike(cluster, &name, chance, &mut self.raw).await?;
            }
            Kind::Reconnect => reconnect::strike(cluster, &name, &mut self.raw).await?,
            Kind::Partition => {
                partition::strike(cluster, self.cycle, chance, &mut self.cuts).await?;
            }
            Kind::Rolling => rolling::strike(cluster, &self.newer).await?,
            Kind::Everything => {
                cluster.kill_all("");
                cluster.restart().await?;
            }
        }
        let healed = probe.heals(HEALED_WITHIN).await;
        self.raw.within(healed, |raw| &mut raw.healed_max_ms);
        tokio::time::sleep(CALM).await;
        let (seen, found) = probe.finish().await?;
        self.raw.add(&seen, found);
        Ok(())
    }

    fn report(&self, report: &mut CycleReport) {
        report.raw = Some(self.raw.clone());
    }

    fn calls_within(&self) -> Option<(Duration, Duration)> {
        let may_end_otherwise = matches!(self.kind, Kind::Everything | Kind::CassandraDown);
        (!may_end_otherwise).then_some(CALLS_WITHIN)
    }

    fn is_hidden(&self) -> bool {
        self.kind == Kind::Rolling
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(kind: Kind, options: &CycleOptions) -> Result<bool, FaultError> {
    let programs = programs(options.program.as_deref())?;
    strike(kind, options, programs.clone(), programs).await
}

/// The same, from an older build to a newer one.
pub async fn roll(options: &RollingOptions) -> Result<bool, FaultError> {
    let newer = programs(options.cycles.program.as_deref())?;
    let older = options.older.clone().unwrap_or_else(|| newer.clone());
    strike(Kind::Rolling, &options.cycles, older, newer).await
}

async fn strike(
    kind: Kind,
    options: &CycleOptions,
    programs: PathBuf,
    newer: PathBuf,
) -> Result<bool, FaultError> {
    if options.shape != Shape::Cluster {
        let text = "this fault needs several processes: --shape cluster".to_owned();
        return Err(FaultError::Unfit(text));
    }
    let settings = match kind {
        Kind::DropDeliveries => deliveries::settings(),
        _ => Vec::new(),
    };
    let network = match kind {
        Kind::Partition => Some(Network::begin().map_err(unfit)?),
        _ => None,
    };
    let mut cluster = Cluster::start_with(&programs, Size::default(), &settings, network).await?;
    eprintln!("{} processes, {}", cluster.len(), cluster.stores());
    let needed = match kind {
        Kind::CassandraNode | Kind::CassandraDown => ("cassandra/", 3),
        Kind::Redis | Kind::RedisFlush | Kind::RedisDown => (REDIS, 1),
        _ => ("chat-svc/", 2),
    };
    if cluster.names(needed.0).len() < needed.1 {
        let text = format!(
            "this fault needs {} processes {} of its own",
            needed.1, needed.0
        );
        return Err(FaultError::Unfit(text));
    }
    let mut strikes = Strikes {
        kind,
        cycle: 0,
        raw: Raw::default(),
        cuts: BTreeMap::new(),
        newer,
    };
    let clean = cycles::run(&mut strikes, &mut cluster, options).await?;
    if kind == Kind::Partition {
        eprintln!("cut off from: {:?}", strikes.cuts);
    }
    Ok(clean)
}

fn unfit(error: std::io::Error) -> FaultError {
    FaultError::Impossible(format!("no network of one's own: {error}"))
}
