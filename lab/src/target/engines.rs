//! The engines below a cluster of our own: Redis, and nodes of Cassandra.
//!
//! `cargo xtask faults` says how the nodes are started ([`NODES`]); or they are somebody else's
//! ([`CASSANDRA`]), and are only used. Redis is started wherever it is installed.
//!
//! Invariant: an engine keeps its port and its data over restarts, so that services find it again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::TargetError;
use crate::process::{Ready, Server, ServerSpec, free_port};

/// Names Cassandra nodes that run, as host:port, separated by commas.
pub const CASSANDRA: &str = "TEST_CASSANDRA";
/// Names a directory with one for each node of Cassandra that is to be started: its `command`, one
/// word a line, and its `address`.
pub const NODES: &str = "TEST_CASSANDRA_NODES";
/// How long a node may take until it speaks CQL.
const CASSANDRA_READY_TIMEOUT: Duration = Duration::from_secs(240);
const REDIS_READY_TIMEOUT: Duration = Duration::from_secs(20);
/// The process of Redis.
pub const REDIS: &str = "redis/1";

/// What was started, and where all of it is.
#[derive(Debug, Default)]
pub struct Engines {
    /// Processes of our own, by name.
    pub started: Vec<(String, Server)>,
    /// Nodes of Cassandra, as host:port.
    pub cassandra: Vec<String>,
    /// Where Redis is.
    pub redis: Option<SocketAddr>,
}

impl Engines {
    /// Starts what is to be had; logs go to `dir`.
    pub async fn start(dir: &Path) -> Result<Self, TargetError> {
        let mut engines = Self::default();
        if let Some(nodes) = named(NODES) {
            engines.cassandra(Path::new(&nodes), dir).await?;
        } else if let Some(nodes) = named(CASSANDRA) {
            engines.cassandra = nodes.split(',').map(str::to_owned).collect();
        }
        if is_installed("redis-server") {
            engines.redis(dir).await?;
        }
        Ok(engines)
    }

    /// The first node alone, then the others: they look for it.
    async fn cassandra(&mut self, nodes: &Path, dir: &Path) -> Result<(), TargetError> {
        let io = |what| move |error| TargetError::Io { what, error };
        let listed = std::fs::read_dir(nodes).map_err(io("the nodes of Cassandra"))?;
        let mut places: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
        places.sort();
        for (number, place) in (1..).zip(places) {
            let read = |file: &str| std::fs::read_to_string(place.join(file));
            let command = read("command").map_err(io("a node's command"))?;
            let address = read("address").map_err(io("a node's address"))?;
            let mut words = command.lines();
            let program = PathBuf::from(words.next().unwrap_or_default());
            let ready = address.trim().parse().map_err(|_| TargetError::Io {
                what: "a node's address",
                error: std::io::ErrorKind::InvalidData.into(),
            })?;
            let spec = ServerSpec {
                program,
                within: Vec::new(),
                args: words.map(str::to_owned).collect(),
                env: Vec::new(),
                log: dir.join(format!("cassandra-{number}.log")),
                ready: Ready::Port(ready),
                ready_timeout: CASSANDRA_READY_TIMEOUT,
            };
            self.cassandra.push(address.trim().to_owned());
            let node = Server::start(spec).await?;
            self.started.push((format!("cassandra/{number}"), node));
        }
        Ok(())
    }

    async fn redis(&mut self, dir: &Path) -> Result<(), TargetError> {
        let what = "a port for Redis";
        let port = free_port().map_err(|error| TargetError::Io { what, error })?;
        let (number, address) = (port.to_string(), SocketAddr::from(([127, 0, 0, 1], port)));
        let args = ["--port", &number, "--bind", "127.0.0.1", "--save", ""];
        let spec = ServerSpec {
            program: "redis-server".into(),
            within: Vec::new(),
            args: args.map(str::to_owned).to_vec(),
            env: Vec::new(),
            log: dir.join("redis.log"),
            ready: Ready::Port(address),
            ready_timeout: REDIS_READY_TIMEOUT,
        };
        self.started
            .push((REDIS.to_owned(), Server::start(spec).await?));
        self.redis = Some(address);
        Ok(())
    }
}

fn named(variable: &str) -> Option<String> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
}

fn is_installed(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg("--version").stdin(Stdio::null());
    asked.stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}
