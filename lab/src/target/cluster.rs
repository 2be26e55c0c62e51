//! A cluster of our own: the five services as processes on loopback, several of each.
//!
//! The twin of [`super::server`] in the other shape. `heddle_plan` says which processes there are,
//! [`super::engines`] has Cassandra and Redis; without them there is one history-svc over an
//! embedded store, and one presence-svc.
//!
//! Invariant: every process keeps its port and what it is told over restarts, so that the others
//! find it again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::try_join_all;
use heddle_plan::{Places, Service, Size, Stores, loopback, services, text, url};
use tempfile::TempDir;

use super::engines::Engines;
use super::{Target, TargetError, TokenMint};
use crate::process::network::Network;
use crate::process::{Ready, Server, ServerSpec, free_port};

/// How long a service may take until its port takes connections; Cassandra's schema is made within.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Services that can be cut off, where there is a network for it.
const APART: [&str; 2] = ["chat-svc", "gateway"];

/// The processes.
#[derive(Debug)]
pub struct Cluster {
    /// Dropped before the engines.
    services: Vec<(String, Server)>,
    engines: Engines,
    target: Target,
    /// Where links can be cut.
    network: Option<Network>,
    _dir: TempDir,
}

impl Cluster {
    /// Starts one; `programs`: where the services' programs lie.
    pub async fn start(programs: &Path, size: Size) -> Result<Cluster, TargetError> {
        Self::start_with(programs, size, &[], None).await
    }

    /// The same with more settings, each for the services whose names begin so; in a `network` chat
    /// nodes and gateways can be cut off, and services have certificates.
    pub async fn start_with(
        programs: &Path,
        size: Size,
        settings: &[(&str, String)],
        mut network: Option<Network>,
    ) -> Result<Cluster, TargetError> {
        let dir = TempDir::new().map_err(io("a temporary directory"))?;
        let secret: [u8; 32] = rand::random();
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let secret_file = dir.path().join("secret");
        std::fs::write(&secret_file, &secret).map_err(io("the tokens' secret"))?;
        let engines = Engines::start(dir.path()).await?;
        let mut stores = Stores {
            dir: dir.path().display().to_string(),
            cassandra: engines.cassandra.clone(),
            keyspace: Some(format!("lab_{:016x}", rand::random::<u64>())),
            redis: engines
                .redis
                .iter()
                .map(|at| format!("redis://{at}"))
                .collect(),
            auth: text(
                "gateway.auth.hs256_secret_file",
                &secret_file.display().to_string(),
            ),
            certificates: None,
        };
        let places = Places::choose(size.over(&stores), |service| match &mut network {
            None => free_port().map(loopback),
            Some(network) if APART.contains(&service) => network.apart(),
            Some(network) => network.here(),
        });
        let places = places.map_err(io("places for services"))?;
        if network.is_some() {
            stores.certificates = Some(certificates(programs, dir.path(), &places)?);
        }
        let starting = services(&places, &stores).into_iter().map(|mut service| {
            if service.binary == "gateway" {
                // What is measured and judged is the load's alone.
                let silent = "gateway.canary_interval_ms=0".to_owned();
                service.settings.push(silent);
            }
            let more = settings.iter().filter(|it| service.name.starts_with(it.0));
            let more: Vec<_> = more.map(|it| it.1.clone()).collect();
            service.settings.extend(more);
            let spec = spec(programs, dir.path(), &service, network.as_ref());
            async { Ok::<_, TargetError>((service.name, Server::start(spec).await?)) }
        });
        let services = try_join_all(starting).await?;
        let mut urls = places.gateway.iter().map(|at| url(*at));
        let target = Target {
            url: urls.next().unwrap_or_default(),
            others: urls.collect(),
            tokens: TokenMint::secret(secret.as_bytes()),
        };
        Ok(Cluster {
            services,
            engines,
            target,
            network,
            _dir: dir,
        })
    }

    /// Where it is and how to sign in.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What is below it, in words.
    pub fn stores(&self) -> String {
        let events = match self.engines.cassandra.len() {
            0 => "embedded".to_owned(),
            1 => format!("Cassandra at {}", self.engines.cassandra[0]),
            nodes => format!("{nodes} nodes of Cassandra"),
        };
        let presence = self.engines.redis.map_or("memory", |_| "Redis");
        format!("event store: {events}; presence: {presence}")
    }

    /// Where nodes of Cassandra are; none: events lie in an embedded store.
    pub fn cassandra(&self) -> &[String] {
        &self.engines.cassandra
    }

    /// Where Redis is.
    pub fn redis(&self) -> Option<SocketAddr> {
        self.engines.redis
    }

    /// Names of the services' processes, or of the engines' that are ours.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let all = self.services.iter().chain(&self.engines.started);
        let names = all.map(|(name, _)| name.clone());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// How many processes of services there are.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// SIGKILL to one process of a service; its name.
    pub fn kill(&mut self, index: usize) -> Option<String> {
        let (name, server) = self.services.get_mut(index)?;
        server.kill();
        Some(name.clone())
    }

    /// SIGKILL to all processes whose names begin so.
    pub fn kill_all(&mut self, prefix: &str) {
        let all = self.services.iter_mut().chain(&mut self.engines.started);
        for (_, server) in all.filter(|(name, _)| name.starts_with(prefix)) {
            server.kill();
        }
    }

    /// The process of this name.
    pub fn process(&self, name: &str) -> Option<&Server> {
        let mut all = self.services.iter().chain(&self.engines.started);
        all.find(|(known, _)| known == name)
            .map(|(_, server)| server)
    }

    /// Where the process of this name listens.
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        match self.process(name)?.spec().ready {
            Ready::Port(address) => Some(address.ip()),
            Ready::Line(_) => None,
        }
    }

    /// Nothing that one address sends reaches the other any more.
    pub fn cut(&mut self, from: IpAddr, to: IpAddr) -> Result<(), TargetError> {
        let cut = |network: &mut Network| network.cut(from, to);
        let done = self.network.as_mut().map_or(Ok(()), cut);
        done.map_err(io("a cut"))
    }

    /// All links are whole again.
    pub fn heal(&mut self) -> Result<(), TargetError> {
        let done = self.network.as_mut().map_or(Ok(()), Network::heal);
        done.map_err(io("the end of a cut"))
    }

    /// SIGTERM to one process of a service, and its program of another directory in its place; by
    /// the plan's order.
    pub async fn replace(
        &mut self,
        index: usize,
        programs: &Path,
        grace: Duration,
    ) -> Result<(), TargetError> {
        if let Some((_, server)) = self.services.get_mut(index) {
            server.terminate(grace).await?;
            server.use_program(programs);
            server.restart().await?;
        }
        Ok(())
    }

    /// Starts again what does not run: engines first, the services wait for them.
    pub async fn restart(&mut self) -> Result<(), TargetError> {
        for all in [&mut self.engines.started, &mut self.services] {
            let dead = all
                .iter_mut()
                .filter_map(|(_, server)| match server.is_running() {
                    true => None,
                    false => Some(server.restart()),
                });
            try_join_all(dead.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// What all services have said since their last start.
    pub fn log(&self) -> String {
        let logs = self.services.iter().map(|(name, server)| {
            let log = server.log().unwrap_or_default();
            format!("== {name}\n{log}")
        });
        logs.collect()
    }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> TargetError {
    move |error| TargetError::Io { what, error }
}

/// Makes certificates for services at these places; the directory.
fn certificates(programs: &Path, dir: &Path, places: &Places) -> Result<String, TargetError> {
    let out = dir.join("certs");
    let mut certs = Command::new(programs.join("heddle"));
    certs
        .arg("certs")
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::null());
    let inside = [
        &places.history,
        &places.presence,
        &places.notify,
        &places.chat,
    ];
    for address in inside.into_iter().flatten() {
        certs.args(["--host", &address.ip().to_string()]);
    }
    let ended = certs.status().and_then(|status| match status.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(status.to_string())),
    });
    ended.map_err(io("heddle certs"))?;
    Ok(out.display().to_string())
}

fn spec(programs: &Path, dir: &Path, service: &Service, network: Option<&Network>) -> ServerSpec {
    let ip = service.address.ip();
    let settings = service.settings.iter().cloned();
    ServerSpec {
        program: programs.join(service.binary),
        within: network.map_or_else(Vec::new, |network| network.within(ip)),
        args: settings.flat_map(|it| ["--set".to_owned(), it]).collect(),
        env: Vec::new(),
        log: dir.join(format!("{}.log", service.name.replace('/', "-"))),
        ready: Ready::Port(service.address),
        ready_timeout: READY_TIMEOUT,
    }
}

/// Where the services' programs lie: beside the one that is named, or beside this one.
pub fn programs(named: Option<&Path>) -> Result<PathBuf, TargetError> {
    let this = match named {
        Some(program) => Ok(program.to_owned()),
        None => std::env::current_exe(),
    };
    let this = this.map_err(io("the services' programs"))?;
    Ok(this.parent().unwrap_or(Path::new(".")).to_owned())
}
