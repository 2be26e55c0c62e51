//! A cluster of our own: the five services as processes on loopback, with several chat nodes that
//! share the shards.
//!
//! The twin of [`super::server`] in the other shape. Its event store is embedded, or on the
//! Cassandra node that `TEST_CASSANDRA` names, in a keyspace of its own.
//!
//! Invariant: every process keeps its port and what it is told over restarts, so that the others
//! find it again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Target, TargetError, TokenMint};
use crate::process::{Ready, Server, ServerSpec, free_port};

/// How long a service may take until its port takes connections; Cassandra's schema is made within.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// Shards, whatever the number of chat nodes.
const SHARDS: u32 = 16;
/// Names a Cassandra node, as host:port.
pub const CASSANDRA: &str = "TEST_CASSANDRA";

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub struct ClusterSize {
    /// Chat nodes.
    pub chat: usize,
}

impl Default for ClusterSize {
    fn default() -> Self {
        Self { chat: 3 }
    }
}

/// The processes.
#[derive(Debug)]
pub struct Cluster {
    services: Vec<(String, Server)>,
    target: Target,
    store: String,
    _dir: TempDir,
}

/// Where each listens, and where files lie.
struct Places {
    history: u16,
    presence: u16,
    notify: u16,
    chat: Vec<u16>,
    gateway: u16,
    dir: PathBuf,
}

impl Cluster {
    /// Starts one; `programs`: where the services' programs lie.
    pub async fn start(programs: &Path, size: ClusterSize) -> Result<Cluster, TargetError> {
        let io = |what| move |error| TargetError::Io { what, error };
        let dir = TempDir::new().map_err(io("a temporary directory"))?;
        let secret: [u8; 32] = rand::random();
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(dir.path().join("secret"), &secret).map_err(io("the tokens' secret"))?;
        let places = Places::choose(size, dir.path()).map_err(io("free ports"))?;
        let (store, told) = places.store();
        let mut services = Vec::new();
        for (name, port, settings) in places.services(told) {
            let spec = places.spec(programs, &name, port, settings);
            services.push((name, Server::start(spec).await?));
        }
        let target = Target {
            url: format!("http://127.0.0.1:{}", places.gateway),
            tokens: TokenMint::secret(secret.as_bytes()),
        };
        Ok(Cluster {
            services,
            target,
            store,
            _dir: dir,
        })
    }

    /// Where it is and how to sign in.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the event store is.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// How many processes there are.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// SIGKILL to one process; its name.
    pub fn kill(&mut self, index: usize) -> Option<String> {
        let (name, server) = self.services.get_mut(index)?;
        server.kill();
        Some(name.clone())
    }

    /// Starts again what does not run.
    pub async fn restart(&mut self) -> Result<(), TargetError> {
        for (_, server) in &mut self.services {
            if !server.is_running() {
                server.restart().await?;
            }
        }
        Ok(())
    }

    /// What all of them have said since their last start.
    pub fn log(&self) -> String {
        let logs = self.services.iter().map(|(name, server)| {
            let log = server.log().unwrap_or_default();
            format!("== {name}\n{log}")
        });
        logs.collect()
    }
}

impl Places {
    fn choose(size: ClusterSize, dir: &Path) -> std::io::Result<Self> {
        Ok(Self {
            history: free_port()?,
            presence: free_port()?,
            notify: free_port()?,
            gateway: free_port()?,
            chat: (0..size.chat)
                .map(|_| free_port())
                .collect::<Result<_, _>>()?,
            dir: dir.to_owned(),
        })
    }

    /// What the store is, and what history-svc is told of it.
    fn store(&self) -> (String, Vec<String>) {
        match std::env::var(CASSANDRA)
            .ok()
            .filter(|node| !node.is_empty())
        {
            Some(node) => {
                let told = vec![
                    text("store", "cassandra"),
                    format!("cassandra.nodes=[\"{node}\"]"),
                    text(
                        "cassandra.keyspace",
                        &format!("lab_{:016x}", rand::random::<u64>()),
                    ),
                    "cassandra.replication_factor=1".to_owned(),
                    "cassandra.accept_low_replication=true".to_owned(),
                    "cassandra.migrate_at_start=true".to_owned(),
                ];
                (format!("Cassandra at {node}"), told)
            }
            None => {
                let data = self.dir.join("history");
                let told = vec![text("history.data_dir", &data.display().to_string())];
                ("embedded".to_owned(), told)
            }
        }
    }

    /// Name, port and settings of each process.
    fn services(&self, store: Vec<String>) -> Vec<(String, u16, Vec<String>)> {
        let file = |name: &str| self.dir.join(name).display().to_string();
        let presence = vec![text("presence.data_dir", &file("presence"))];
        let mut services = vec![
            ("history-svc/1".to_owned(), self.history, store),
            ("notify-svc/1".to_owned(), self.notify, Vec::new()),
            ("presence-svc/1".to_owned(), self.presence, presence),
        ];
        for (number, port) in (1..).zip(&self.chat) {
            let settings = vec![
                format!("history_urls=[\"{}\"]", url(self.history)),
                format!("notify_urls=[\"{}\"]", url(self.notify)),
                text("chat.node", &format!("chat-{number}")),
                format!("chat.shards={SHARDS}"),
            ];
            services.push((format!("chat-svc/{number}"), *port, settings));
        }
        let chat: Vec<_> = self
            .chat
            .iter()
            .map(|port| format!("\"{}\"", url(*port)))
            .collect();
        let gateway = vec![
            format!("chat_urls=[{}]", chat.join(",")),
            format!("history_urls=[\"{}\"]", url(self.history)),
            format!("presence_urls=[\"{}\"]", url(self.presence)),
            text("gateway.auth.hs256_secret_file", &file("secret")),
        ];
        services.push(("gateway/1".to_owned(), self.gateway, gateway));
        services
    }

    fn spec(&self, programs: &Path, name: &str, port: u16, settings: Vec<String>) -> ServerSpec {
        let binary = name.split('/').next().unwrap_or(name);
        let listen = text("listen", &format!("127.0.0.1:{port}"));
        let settings = settings.into_iter().chain([listen]);
        ServerSpec {
            program: programs.join(binary),
            args: settings.flat_map(|it| ["--set".to_owned(), it]).collect(),
            env: Vec::new(),
            log: self.dir.join(format!("{}.log", name.replace('/', "-"))),
            ready: Ready::Port(SocketAddr::from(([127, 0, 0, 1], port))),
            ready_timeout: READY_TIMEOUT,
        }
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn text(field: &str, value: &str) -> String {
    format!("{field}=\"{value}\"")
}
