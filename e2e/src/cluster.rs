//! Cluster: real processes on loopback, with several chat nodes that share the shards.
//!
//! Invariant: processes end with the value that owns them; ports are free when they are chosen.

use crate::{keys::Signer, missing, wait::eventually, world::Failure};
use heddle_lab::target::{Target, TokenMint};
use heddle_proto::internal::{LeaseRequest, LiveNode, store_service_client::StoreServiceClient};
use serde_json::json;
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
pub const SHARDS: usize = 16;

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

/// A port that was free a moment ago; `held` keeps it until all are chosen.
fn free(held: &mut Vec<TcpListener>) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    held.push(listener);
    Ok(address)
}

/// The processes.
pub struct Cluster {
    dir: TempDir,
    binaries: PathBuf,
    gateway: SocketAddr,
    history: SocketAddr,
    presence: SocketAddr,
    notify: SocketAddr,
    chat: Vec<SocketAddr>,
    private_pem: PathBuf,
    others: Vec<Child>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// One of each service, and so many chat nodes. None: the binaries are not there.
    pub async fn start(chat_nodes: usize) -> Result<Option<Self>, Failure> {
        let Some(binaries) = binaries()? else {
            return Ok(None);
        };
        heddle_kit::tls::install_crypto_provider();
        let dir = tempfile::tempdir()?;
        let public_pem = dir.path().join("public.pem");
        let (_, private) = Signer::create_pair(&public_pem)?;
        let private_pem = dir.path().join("private.pem");
        std::fs::write(&private_pem, private)?;
        let mut held = Vec::new();
        let chat: Result<_, _> = (0..chat_nodes).map(|_| free(&mut held)).collect();
        let mut cluster = Self {
            dir,
            binaries,
            gateway: free(&mut held)?,
            history: free(&mut held)?,
            presence: free(&mut held)?,
            notify: free(&mut held)?,
            chat: chat?,
            private_pem,
            others: Vec::new(),
            nodes: (0..chat_nodes).map(|_| None).collect(),
        };
        drop(held);
        for service in ["history-svc", "notify-svc", "presence-svc", "gateway"] {
            let settings = cluster.settings(service, &public_pem);
            let process = command(&cluster.binaries.join(service), &settings).spawn()?;
            cluster.others.push(process);
        }
        for node in 0..chat_nodes {
            cluster.start_node(node)?;
        }
        Ok(Some(cluster))
    }

    /// Where clients connect, and how they sign in.
    pub fn target(&self) -> Result<Target, Failure> {
        let url = format!("http://{}", self.gateway);
        let tokens = TokenMint::ed25519_pem(&self.private_pem)?;
        Ok(Target { url, tokens })
    }

    /// Starts a chat node.
    pub fn start_node(&mut self, node: usize) -> Result<(), Failure> {
        let settings = [
            format!("listen={}", json!(self.chat[node].to_string())),
            format!(
                "history_urls={}",
                json!([format!("http://{}", self.history)])
            ),
            format!("notify_urls={}", json!([format!("http://{}", self.notify)])),
            format!("chat.node={}", json!(format!("node-{node}"))),
            format!("chat.shards={SHARDS}"),
        ];
        let process = command(&self.binaries.join("chat-svc"), &settings).spawn()?;
        self.nodes[node] = Some(process);
        Ok(())
    }

    /// SIGKILL, to a chat node.
    pub async fn kill_node(&mut self, node: usize) -> Result<(), Failure> {
        let mut process = self.nodes[node].take().ok_or("the node is not running")?;
        Ok(process.kill().await?)
    }

    /// SIGTERM to a chat node, and its end.
    pub async fn drain_node(&mut self, node: usize) -> Result<(), Failure> {
        let mut process = self.nodes[node].take().ok_or("the node is not running")?;
        let id = process.id().ok_or("the node has ended by itself")?;
        let kill = Command::new("kill").arg(id.to_string()).status().await?;
        let ended = process.wait().await?;
        match kill.success() && ended.success() {
            true => Ok(()),
            false => Err(format!("the drained node ended with {ended}").into()),
        }
    }

    /// Who has leases, as history-svc says.
    pub async fn leases(&self) -> Result<Vec<LiveNode>, Failure> {
        let url = format!("http://{}", self.history);
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

    fn settings(&self, service: &str, public_pem: &Path) -> Vec<String> {
        let text = |field: &str, value: &str| format!("{field}={}", json!(value));
        let listen = |address: SocketAddr| text("listen", &address.to_string());
        let url = |address: &SocketAddr| format!("http://{address}");
        let data = self.dir.path().join("data").display().to_string();
        match service {
            "history-svc" => vec![
                listen(self.history),
                text("history.data_dir", &data),
                "history.disk_free_bytes_min=0".into(),
            ],
            "notify-svc" => vec![listen(self.notify)],
            "presence-svc" => vec![listen(self.presence), text("presence.data_dir", &data)],
            _ => vec![
                listen(self.gateway),
                format!(
                    "chat_urls={}",
                    json!(self.chat.iter().map(url).collect::<Vec<_>>())
                ),
                format!("history_urls={}", json!([url(&self.history)])),
                format!("presence_urls={}", json!([url(&self.presence)])),
                text("gateway.auth.key_file", &public_pem.display().to_string()),
            ],
        }
    }
}
