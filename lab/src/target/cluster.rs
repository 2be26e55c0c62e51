//! A cluster of our own: the five services as processes on loopback, several of each.
//!
//! The twin of [`super::server`] in the other shape. `heddle_plan` says which processes there are,
//! [`super::engines`] has Cassandra and Redis; without them there is one history-svc over an
//! embedded store, and one presence-svc.
//!
//! Invariant: every process keeps its port and what it is told over restarts, so that the others
//! find it again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use heddle_plan::{Ports, Service, Size, Stores, services, text, url};
use tempfile::TempDir;

use super::engines::Engines;
use super::{Target, TargetError, TokenMint};
use crate::process::{Ready, Server, ServerSpec, free_port};

/// How long a service may take until its port takes connections; Cassandra's schema is made within.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// The processes.
#[derive(Debug)]
pub struct Cluster {
    /// Dropped before the engines.
    services: Vec<(String, Server)>,
    engines: Engines,
    target: Target,
    _dir: TempDir,
}

impl Cluster {
    /// Starts one; `programs`: where the services' programs lie.
    pub async fn start(programs: &Path, size: Size) -> Result<Cluster, TargetError> {
        Self::start_with(programs, size, &[]).await
    }

    /// The same with more settings, each for the services whose names begin so.
    pub async fn start_with(
        programs: &Path,
        size: Size,
        settings: &[(&str, String)],
    ) -> Result<Cluster, TargetError> {
        let io = |what| move |error| TargetError::Io { what, error };
        let dir = TempDir::new().map_err(io("a temporary directory"))?;
        let secret: [u8; 32] = rand::random();
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let secret_file = dir.path().join("secret");
        std::fs::write(&secret_file, &secret).map_err(io("the tokens' secret"))?;
        let engines = Engines::start(dir.path()).await?;
        let stores = Stores {
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
        };
        let ports = Ports::choose(size.over(&stores), |_| free_port()).map_err(io("free ports"))?;
        let starting = services(&ports, &stores).into_iter().map(|mut service| {
            let more = settings.iter().filter(|it| service.name.starts_with(it.0));
            let more: Vec<_> = more.map(|it| it.1.clone()).collect();
            service.settings.extend(more);
            let spec = spec(programs, dir.path(), &service);
            async { Ok::<_, TargetError>((service.name, Server::start(spec).await?)) }
        });
        let services = try_join_all(starting).await?;
        let mut urls = ports.gateway.iter().map(|port| url(*port));
        let target = Target {
            url: urls.next().unwrap_or_default(),
            others: urls.collect(),
            tokens: TokenMint::secret(secret.as_bytes()),
        };
        Ok(Cluster {
            services,
            engines,
            target,
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

fn spec(programs: &Path, dir: &Path, service: &Service) -> ServerSpec {
    let settings = service.settings.iter().cloned();
    ServerSpec {
        program: programs.join(service.binary),
        args: settings.flat_map(|it| ["--set".to_owned(), it]).collect(),
        env: Vec::new(),
        log: dir.join(format!("{}.log", service.name.replace('/', "-"))),
        ready: Ready::Port(SocketAddr::from(([127, 0, 0, 1], service.port))),
        ready_timeout: READY_TIMEOUT,
    }
}
