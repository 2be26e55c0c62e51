//! Faults of a cluster beyond the death of one process: its engines, pauses, everything at once.
//!
//! [`super::cycles`] brings the workload and judges it; beside it a [`super::probe`] that never
//! repeats a call says what clients see, and how long nothing is stored. Each strike ends when all
//! runs again.
//!
//! Invariant: a strike leaves the cluster whole; what it found beyond the checker's verdicts is in
//! its [`Raw`].

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use heddle_plan::Size;
use heddle_sdk::Session;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::Serialize;

use super::FaultError;
use super::cycles::{self, CycleOptions, CycleReport, Fault, Shape};
use super::kill::programs;
use super::probe::{Probe, Seen};
use crate::target::cluster::Cluster;
use crate::target::engines::REDIS;
use crate::target::{Target, TargetError};

/// Before and after a fault all goes well for so long.
const CALM: Duration = Duration::from_secs(2);
/// How long a node of Cassandra is away.
const NODE_AWAY: Duration = Duration::from_secs(10);
/// How long Redis is away, where it is for long.
const REDIS_AWAY: Duration = Duration::from_secs(60);
/// Three leases of a chat node.
const PAUSE: Duration = Duration::from_secs(9);
/// Stored again after the engines are ready, at the latest.
const HEALED_WITHIN: Duration = Duration::from_secs(30);
/// Presence is right again, at the latest.
const PRESENT_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks at presence.
const POLL: Duration = Duration::from_millis(200);

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
    /// Errors where there was to be none.
    pub errors_unexpected: u64,
    /// Times that nothing was stored, or presence not right, in time.
    pub late: u64,
    /// The longest time without an OK, in milliseconds.
    pub stall_max_ms: u64,
    /// The longest time until an OK after the engines were ready, in milliseconds.
    pub healed_max_ms: u64,
    /// The longest time until presence was right again, in milliseconds.
    pub present_max_ms: u64,
}

impl Raw {
    /// Nothing that must not be.
    pub fn is_clean(&self) -> bool {
        self.forbidden + self.lost + self.errors_unexpected + self.late == 0
    }

    fn add(&mut self, seen: &Seen, lost: u64) {
        self.ok += seen.stored.len() as u64;
        for (code, count) in &seen.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
        self.broken += seen.broken;
        self.forbidden += seen.forbidden();
        self.lost += lost;
        self.stall_max_ms = self.stall_max_ms.max(seen.stall_max_ms);
    }

    fn within(&mut self, took: Option<Duration>, longest: fn(&mut Self) -> &mut u64) {
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
            Kind::Pause => pause(cluster, chance).await?,
            Kind::Everything => {
                cluster.kill_all("");
                cluster.restart().await?;
            }
        }
        let healed = probe.heals(HEALED_WITHIN).await;
        self.raw.within(healed, |raw| &mut raw.healed_max_ms);
        tokio::time::sleep(CALM).await;
        let (seen, lost) = probe.finish().await?;
        self.raw.add(&seen, lost);
        Ok(())
    }

    fn report(&self, report: &mut CycleReport) {
        report.raw = Some(self.raw.clone());
    }
}

impl Strikes {
    /// One node dies and comes back: errors that a client sees count.
    async fn node(
        &mut self,
        cluster: &mut Cluster,
        probe: &Probe,
        chance: &mut StdRng,
    ) -> Result<(), FaultError> {
        let nodes = cluster.names("cassandra/");
        let before = probe.seen().errors();
        if let Some(node) = nodes.choose(chance) {
            cluster.kill_all(node);
        }
        tokio::time::sleep(NODE_AWAY).await;
        cluster.restart().await?;
        self.raw.errors_unexpected += probe.seen().errors() - before;
        Ok(())
    }

    /// One node is stopped or killed, then two: whatever is told OK then has to stay.
    async fn nodes(
        &mut self,
        cluster: &mut Cluster,
        probe: &Probe,
        chance: &mut StdRng,
    ) -> Result<(), FaultError> {
        let mut nodes = cluster.names("cassandra/");
        nodes.shuffle(chance);
        let Some(one) = nodes.first() else {
            return Ok(());
        };
        let before = probe.seen().errors();
        match chance.random() {
            true => {
                cluster.kill_all(one);
                tokio::time::sleep(NODE_AWAY).await;
                cluster.restart().await?;
            }
            false => paused(cluster, one, NODE_AWAY).await?,
        }
        self.raw.errors_unexpected += probe.seen().errors() - before;
        tokio::time::sleep(CALM).await;
        for node in nodes.iter().take(2) {
            cluster.kill_all(node);
        }
        tokio::time::sleep(NODE_AWAY).await;
        Ok(cluster.restart().await?)
    }

    /// Redis dies and comes back empty: nobody's message waits for it.
    async fn redis(
        &mut self,
        cluster: &mut Cluster,
        away: Duration,
        name: &str,
    ) -> Result<(), FaultError> {
        let pair = Pair::begin(cluster.target(), name).await?;
        cluster.kill_all(REDIS);
        tokio::time::sleep(away).await;
        cluster.restart().await?;
        let took = pair.is_present(PRESENT_WITHIN).await;
        self.raw.within(took, |raw| &mut raw.present_max_ms);
        Ok(())
    }

    async fn flush(&mut self, cluster: &mut Cluster, name: &str) -> Result<(), FaultError> {
        let pair = Pair::begin(cluster.target(), name).await?;
        if let Some(redis) = cluster.redis() {
            let what = "redis: FLUSHALL";
            flush(redis).map_err(|error| TargetError::Io { what, error })?;
        }
        let took = pair.is_present(PRESENT_WITHIN).await;
        self.raw.within(took, |raw| &mut raw.present_max_ms);
        Ok(())
    }
}

/// A chat node sleeps through three of its leases, while others take its shards.
async fn pause(cluster: &mut Cluster, chance: &mut StdRng) -> Result<(), FaultError> {
    let nodes = cluster.names("chat-svc/");
    if let Some(node) = nodes.choose(chance) {
        paused(cluster, node, PAUSE).await?;
    }
    tokio::time::sleep(CALM).await;
    Ok(())
}

async fn paused(cluster: &Cluster, name: &str, time: Duration) -> Result<(), FaultError> {
    if let Some(process) = cluster.process(name) {
        process.pause().map_err(TargetError::from)?;
        tokio::time::sleep(time).await;
        process.resume().map_err(TargetError::from)?;
    }
    Ok(())
}

fn flush(redis: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(redis)?;
    stream.write_all(b"FLUSHALL\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    match &answer {
        b"+OK\r\n" => Ok(()),
        other => Err(std::io::Error::other(format!("{other:?}"))),
    }
}

/// Two people: one is online, the other one looks.
struct Pair {
    looks: heddle_sdk::Client,
    online: String,
    _session: Session,
}

impl Pair {
    /// Returns once the one is seen by the other.
    async fn begin(target: &Target, name: &str) -> Result<Self, TargetError> {
        let refused = || TargetError::refused("the pair that looks at presence");
        let online = format!("{name}-online");
        let client = target.client(&online, "phone")?;
        let session = client.session().open().await.map_err(refused())?;
        let looks = target.client(&format!("{name}-looks"), "phone")?;
        looks.create_direct(&online).await.map_err(refused())?;
        let pair = Self {
            looks,
            online,
            _session: session,
        };
        pair.is_present(PRESENT_WITHIN).await;
        Ok(pair)
    }

    /// How long until the one is seen online.
    async fn is_present(&self, within: Duration) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            let told = self.looks.presence(vec![self.online.clone()]).await;
            if told.is_ok_and(|told| told.iter().any(|presence| presence.online)) {
                return Some(begun.elapsed());
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(kind: Kind, options: &CycleOptions) -> Result<bool, FaultError> {
    if options.shape != Shape::Cluster {
        let text = "this fault needs several processes: --shape cluster".to_owned();
        return Err(FaultError::Unfit(text));
    }
    let programs = programs(options.program.as_deref())?;
    let mut cluster = Cluster::start(&programs, Size::default()).await?;
    eprintln!("{} processes, {}", cluster.len(), cluster.stores());
    let needed = match kind {
        Kind::CassandraNode | Kind::CassandraDown => ("cassandra/", 3),
        Kind::Redis | Kind::RedisFlush | Kind::RedisDown => (REDIS, 1),
        Kind::Pause | Kind::Everything => ("chat-svc/", 2),
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
    };
    cycles::run(&mut strikes, &mut cluster, options).await
}
