//! Faults of what lies below the services: nodes of Cassandra, Redis; and a chat node that sleeps.
//!
//! [`super`] says which there are. Beside a fault of Redis a pair of people looks at presence.
//!
//! Invariant: each returns when all runs again; what it found is in the [`Raw`](super::Raw).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heddle_sdk::Session;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::super::FaultError;
use super::super::probe::Probe;
use super::{CALM, Strikes};
use crate::target::cluster::Cluster;
use crate::target::engines::REDIS;
use crate::target::{Target, TargetError};

/// How long a node of Cassandra is away.
const NODE_AWAY: Duration = Duration::from_secs(10);
/// Three leases of a chat node.
const PAUSE: Duration = Duration::from_secs(9);
/// Presence is right again, at the latest.
const PRESENT_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks at presence.
const POLL: Duration = Duration::from_millis(200);

impl Strikes {
    /// One node dies and comes back: errors that a client sees count.
    pub(super) async fn node(
        &mut self,
        cluster: &mut Cluster,
        probe: &Probe,
        chance: &mut StdRng,
    ) -> Result<(), FaultError> {
        let nodes = cluster.names("cassandra/");
        let before = probe.seen().said.len();
        if let Some(node) = nodes.choose(chance) {
            cluster.kill_all(node);
        }
        tokio::time::sleep(NODE_AWAY).await;
        cluster.restart().await?;
        self.one_away(&probe.seen().said[before..], "killed");
        Ok(())
    }

    /// One node is stopped or killed, then two: whatever is told OK then has to stay.
    pub(super) async fn nodes(
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
        let before = probe.seen().said.len();
        let is_killed = chance.random();
        if is_killed {
            cluster.kill_all(one);
            tokio::time::sleep(NODE_AWAY).await;
            cluster.restart().await?;
        } else {
            paused(cluster, one, NODE_AWAY).await?;
        }
        let how = if is_killed { "killed" } else { "stopped" };
        self.one_away(&probe.seen().said[before..], how);
        tokio::time::sleep(CALM).await;
        for node in nodes.iter().take(2) {
            cluster.kill_all(node);
        }
        tokio::time::sleep(NODE_AWAY).await;
        Ok(cluster.restart().await?)
    }

    /// What a client was refused while one node was away.
    fn one_away(&mut self, said: &[String], how: &str) {
        for words in said {
            eprintln!("  with one node {how}: {words}");
        }
        self.raw.errors_unexpected += said.len() as u64;
    }

    /// Redis dies and comes back empty: nobody's message waits for it.
    pub(super) async fn redis(
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

    pub(super) async fn flush(
        &mut self,
        cluster: &mut Cluster,
        name: &str,
    ) -> Result<(), FaultError> {
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
pub(super) async fn pause(cluster: &mut Cluster, chance: &mut StdRng) -> Result<(), FaultError> {
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
