//! Cluster: real processes on loopback, with several chat nodes that share the shards.
//!
//! `heddle_plan` says what each is told. The event store is embedded, so there is one history-svc.
//!
//! Invariant: processes end with the value that owns them; ports are free when they are chosen.

use crate::{keys::Signer, missing, wait::eventually, world::Failure};
use heddle_lab::target::{Target, TokenMint};
use heddle_plan::{Places, Service, Size, Stores, text, url};
use heddle_proto::internal::{LeaseRequest, LiveNode, store_service_client::StoreServiceClient};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The binaries of all services, in the order in which they are started.
pub const BINARIES: [&str; 5] = [
    "history-svc",
    "notify-svc",
    "presence-svc",
    "chat-svc",
    "gateway",
];
/// Shards of a cluster here.
pub const SHARDS: usize = heddle_plan::SHARDS as usize;

/// Where cargo puts the binaries. Without them nothing is proved, which is loud, and in CI a
/// failure.
pub fn binaries() -> Result<Option<PathBuf>, Failure> {
    let test = std::env::current_exe()?;
    let target = test
        .ancestors()
        .nth(2)
        .ok_or("the test is not in target/debug/deps")?;
    let absent: Vec<_> = BINARIES
        .iter()
        .filter(|name| !target.join(name).is_file())
        .collect();
    if absent.is_empty() {
        return Ok(Some(target.to_owned()));
    }
    missing::loudly(&format!(
        "{absent:?} are not built; run `cargo build --workspace --bins` first"
    ));
    Ok(None)
}

/// A binary with these settings, to be started; it ends with the value that holds it.
pub fn command(binary: &Path, settings: &[String]) -> Command {
    let mut command = Command::new(binary);
    let level = std::env::var("HEDDLE_E2E_LOG").unwrap_or_else(|_| "error".into());
    command.args(["--set", &format!("process.telemetry.log={level}")]);
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    command.kill_on_drop(true);
    command
}

/// A place that was free a moment ago; `held` keeps it until all are chosen.
fn free(held: &mut Vec<TcpListener>) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    held.push(listener);
    Ok(address)
}

/// The processes.
pub struct Cluster {
    _dir: TempDir,
    binaries: PathBuf,
    places: Places,
    chat: Vec<Service>,
    private_pem: PathBuf,
    others: Vec<Child>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// So many chat nodes, and what they need. None: the binaries are not there.
    pub async fn start(chat_nodes: usize) -> Result<Option<Self>, Failure> {
        let size = Size {
            chat: chat_nodes,
            gateway: 1,
            ..Size::default()
        };
        Self::start_with(size, |_| Vec::new()).await
    }

    /// The same of any size, and with more settings of each service.
    pub async fn start_with(
        size: Size,
        more: impl Fn(&Service) -> Vec<String>,
    ) -> Result<Option<Self>, Failure> {
        let Some(binaries) = binaries()? else {
            return Ok(None);
        };
        heddle_kit::tls::install_crypto_provider();
        let dir = tempfile::tempdir()?;
        let public_pem = dir.path().join("public.pem");
        let (_, private) = Signer::create_pair(&public_pem)?;
        let private_pem = dir.path().join("private.pem");
        std::fs::write(&private_pem, private)?;
        let stores = Stores {
            dir: dir.path().join("data").display().to_string(),
            cassandra: Vec::new(),
            keyspace: None,
            redis: Vec::new(),
            auth: text("gateway.auth.key_file", &public_pem.display().to_string()),
            certificates: None,
        };
        let mut held = Vec::new();
        let places = Places::choose(size.over(&stores), |_| free(&mut held))?;
        let mut services = heddle_plan::services(&places, &stores);
        for service in &mut services {
            // Any disk will do, and nobody but the scenario is to say anything.
            service.settings.extend(match service.binary {
                "history-svc" => Some("history.disk_free_bytes_min=0".to_owned()),
                "gateway" => Some("gateway.canary_interval_ms=0".to_owned()),
                _ => None,
            });
            service.settings.extend(more(service));
        }
        let (chat, others): (Vec<_>, Vec<_>) = services
            .into_iter()
            .partition(|service| service.binary == "chat-svc");
        let mut cluster = Self {
            _dir: dir,
            binaries,
            places,
            chat,
            private_pem,
            others: Vec::new(),
            nodes: (0..size.chat).map(|_| None).collect(),
        };
        drop(held);
        for service in others {
            let binary = cluster.binaries.join(service.binary);
            cluster
                .others
                .push(command(&binary, &service.settings).spawn()?);
        }
        for node in 0..size.chat {
            cluster.start_node(node)?;
        }
        Ok(Some(cluster))
    }

    /// Where clients connect, and how they sign in: the first gateway.
    pub fn target(&self) -> Result<Target, Failure> {
        self.target_of(0)
    }

    /// The same of one gateway.
    pub fn target_of(&self, gateway: usize) -> Result<Target, Failure> {
        Ok(Target {
            url: url(self.places.gateway[gateway]),
            others: Vec::new(),
            tokens: TokenMint::ed25519_pem(&self.private_pem)?,
        })
    }

    /// Starts a chat node.
    pub fn start_node(&mut self, node: usize) -> Result<(), Failure> {
        let service = &self.chat[node];
        let process = command(&self.binaries.join(service.binary), &service.settings).spawn()?;
        self.nodes[node] = Some(process);
        Ok(())
    }

    /// SIGKILL, to a chat node.
    pub async fn kill_node(&mut self, node: usize) -> Result<(), Failure> {
        let mut process = self.nodes[node].take().ok_or("the node is not running")?;
        Ok(process.kill().await?)
    }

    /// A signal to a chat node, such as `STOP`.
    pub async fn signal_node(&self, node: usize, signal: &str) -> Result<(), Failure> {
        let process = self.nodes[node].as_ref();
        let id = process.ok_or("the node is not running")?.id();
        let id = id.ok_or("the node has ended by itself")?.to_string();
        let mut kill = Command::new("kill");
        match kill.args(["-s", signal, &id]).status().await?.success() {
            true => Ok(()),
            false => Err(format!("{signal} did not reach the node").into()),
        }
    }

    /// SIGTERM to a chat node, and its end.
    pub async fn drain_node(&mut self, node: usize) -> Result<(), Failure> {
        self.signal_node(node, "TERM").await?;
        let mut process = self.nodes[node].take().ok_or("the node is not running")?;
        let ended = process.wait().await?;
        match ended.success() {
            true => Ok(()),
            false => Err(format!("the drained node ended with {ended}").into()),
        }
    }

    /// Who has leases, as history-svc says.
    pub async fn leases(&self) -> Result<Vec<LiveNode>, Failure> {
        let url = url(self.places.history[0]);
        let ask = LeaseRequest {
            node: "observer".into(),
            ..Default::default()
        };
        let answer = StoreServiceClient::connect(url).await?.lease(ask).await?;
        Ok(answer.into_inner().nodes)
    }

    /// Waits until so many nodes have leases, each has shards, and each shard has one owner.
    pub async fn shared_by(&self, count: usize) {
        let what = format!("shards shared by {count}");
        eventually(&what, || async {
            let nodes = self.leases().await.ok()?;
            let owned = nodes.iter().flat_map(|node| &node.owned);
            let all: BTreeSet<u32> = owned.clone().copied().collect();
            let once = owned.count() == SHARDS && all.len() == SHARDS;
            let each = nodes.iter().all(|node| !node.owned.is_empty());
            (nodes.len() == count && once && each).then_some(())
        })
        .await;
    }
}
