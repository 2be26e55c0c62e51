//! `cargo xtask cassandra up|down`: one real Apache Cassandra node without containers or root.
//!
//! `jars` fetches it, `settings` says how it runs, `node` starts and stops it, `snapshot` copies
//! what it has. The suite starts one for all of its steps, see [`suite_node`]. Needs a JDK and
//! Maven, which `tools` sees to.
//!
//! Invariant: only a process that was started from the directory named is ever stopped.

mod jars;
mod node;
mod settings;
mod snapshot;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Subcommand;

use crate::check::{Failure, Outcome};
use crate::repo::Repo;
use node::Node;
use settings::Settings;

pub use settings::COMMIT_LOG_WINDOW_MS;

/// Names the node to the tests. Not HEDDLE_...: those are settings of the programs under test.
pub const ADDRESS: &str = "TEST_CASSANDRA";
/// Names this program to tests that kill a node of their own.
pub const XTASK: &str = "HEDDLE_XTASK";
/// Where a node lives that was not told where.
const DIRECTORY: &str = "target/cassandra";

#[derive(Subcommand)]
pub enum Task {
    /// Start a node in the background and wait until it speaks CQL.
    Up {
        /// Its data, its log and its pid; target/cassandra if not given.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// The port for CQL; the node's own is on the same port of 127.0.0.1 plus one.
        #[arg(long, default_value_t = 9042)]
        port: u16,
        /// Run as a server would, for measurements: C2 and G1; takes longer to start.
        #[arg(long)]
        bench: bool,
        /// Also listen for `nodetool`, on this port of 127.0.0.1.
        #[arg(long)]
        jmx_port: Option<u16>,
    },
    /// Take a snapshot of all tables of a running node; a node can be started on the copy.
    Snapshot {
        /// The node's directory; target/cassandra if not given.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// What the node was started with.
        #[arg(long)]
        jmx_port: u16,
        /// Where the copy goes: a directory that is not there yet.
        #[arg(long)]
        out: PathBuf,
    },
    /// Stop the node that was started in a directory.
    Down {
        /// Its directory; target/cassandra if not given.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// At once, as a crash would.
        #[arg(long)]
        kill: bool,
        /// Remove the directory afterwards.
        #[arg(long)]
        purge: bool,
    },
}

/// Does what the command line says.
pub fn perform(repo: &Repo, task: Task) -> Outcome {
    let directory = |dir: Option<PathBuf>| dir.unwrap_or_else(|| repo.path(DIRECTORY));
    match task {
        Task::Snapshot { dir, jmx_port, out } => {
            snapshot::take(repo, &directory(dir), jmx_port, &out)
        }
        Task::Up {
            dir,
            port,
            bench,
            jmx_port,
        } => {
            let dir = directory(dir);
            let settings = Settings {
                address: Ipv4Addr::LOCALHOST,
                seeds: vec![Ipv4Addr::LOCALHOST],
                port,
                storage_port: port
                    .checked_add(1)
                    .ok_or_else(|| Failure::wrong("--port: at most 65534"))?,
                bench,
                jmx_port,
                lives_on: true,
            };
            let node = Node::start(&jars::class_path(repo)?, &dir, &settings)?;
            let pid = node.leave_running()?;
            Ok(format!(
                "{ADDRESS}=127.0.0.1:{port}\nstop it with `cargo xtask cassandra down --dir {}` \
                 (pid {pid})",
                dir.display()
            ))
        }
        Task::Down { dir, kill, purge } => {
            let dir = directory(dir);
            let was_running = node::stop(&dir, kill)?;
            if purge && dir.exists() {
                std::fs::remove_dir_all(&dir)?;
            }
            let said = if was_running { "stopped" } else { "none ran" };
            Ok(said.to_owned())
        }
    }
}

/// A node that somebody else starts.
pub struct Planned {
    /// Where it speaks CQL.
    pub address: SocketAddr,
    /// What starts it.
    pub program: String,
    /// With what.
    pub arguments: Vec<String>,
}

/// Writes the files of a ring of nodes, on 127.0.0.1 and the addresses after it, in these
/// directories. The first has to speak CQL before the others are started. `lives_on`: they are to
/// outlive whoever starts them.
pub fn ring(repo: &Repo, dirs: &[PathBuf], lives_on: bool) -> Result<Vec<Planned>, Failure> {
    ring_at(repo, dirs, lives_on, free_ports)
}

/// The same at the ports that `choose` says: for CQL, and between the nodes.
pub fn ring_at(
    repo: &Repo,
    dirs: &[PathBuf],
    lives_on: bool,
    choose: impl FnOnce() -> Result<(u16, u16), Failure>,
) -> Result<Vec<Planned>, Failure> {
    let class_path = jars::class_path(repo)?;
    // The jars may have taken minutes, in which a port would have been taken.
    let (port, storage_port) = choose()?;
    let addresses = (1u8..).map(|last| Ipv4Addr::new(127, 0, 0, last));
    let seeds: Vec<_> = addresses.take(dirs.len()).collect();
    let plan = |(dir, address): (&PathBuf, &Ipv4Addr)| {
        let settings = Settings {
            address: *address,
            seeds: seeds.clone(),
            port,
            storage_port,
            bench: false,
            jmx_port: None,
            lives_on,
        };
        std::fs::create_dir_all(dir)?;
        let (program, arguments) = node::prepare(&class_path, &dir.canonicalize()?, &settings)?;
        Ok(Planned {
            address: (*address, port).into(),
            program,
            arguments,
        })
    };
    dirs.iter().zip(&seeds).map(plan).collect()
}

/// Waits until a node of a ring speaks CQL.
pub fn wait_for(address: SocketAddr) -> Result<(), Failure> {
    node::wait_for(address)
}

/// The node of a run of the suite, once a step has asked for it.
static SHARED: Mutex<Option<Result<(Node, u16), Failure>>> = Mutex::new(None);

/// Stops the suite's node, however the suite ends.
pub struct StopAtEnd;

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        drop(shared().take());
    }
}

/// Where the suite's node is, or why there is none. It is started for the first step that asks; one
/// that the environment names already is used as it is.
pub fn suite_node(repo: &Repo) -> Result<String, Failure> {
    if let Some(named) = std::env::var(ADDRESS).ok().filter(|name| !name.is_empty()) {
        return Ok(named);
    }
    match shared().get_or_insert_with(|| start_for_suite(repo)) {
        Ok((_, port)) => Ok(format!("127.0.0.1:{port}")),
        Err(why) => Err(why.clone()),
    }
}

fn shared() -> MutexGuard<'static, Option<Result<(Node, u16), Failure>>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_for_suite(repo: &Repo) -> Result<(Node, u16), Failure> {
    start_afresh(repo, &repo.path("target/cassandra-suite"), false)
}

/// A node for one measurement, which ends with this value.
pub struct BenchNode {
    /// Where it speaks CQL.
    pub address: String,
    /// Where its commit log lies, among all else; stays until the next one is started.
    pub dir: PathBuf,
    node: Node,
}

impl BenchNode {
    /// Starts one as a server would run.
    pub fn start(repo: &Repo) -> Result<Self, Failure> {
        let dir = repo.path("target/cassandra-bench");
        let (node, port) = start_afresh(repo, &dir, true)?;
        let address = format!("127.0.0.1:{port}");
        Ok(Self { address, dir, node })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.node.pid()
    }
}

/// A node on any port, in a directory of which nothing stays; it ends with the value.
fn start_afresh(repo: &Repo, dir: &Path, bench: bool) -> Result<(Node, u16), Failure> {
    let (port, storage_port) = free_ports()?;
    let settings = Settings {
        address: Ipv4Addr::LOCALHOST,
        seeds: vec![Ipv4Addr::LOCALHOST],
        port,
        storage_port,
        bench,
        jmx_port: None,
        lives_on: false,
    };
    node::stop(dir, true)?;
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok((Node::start(&jars::class_path(repo)?, dir, &settings)?, port))
}

/// Two ports that are free now; held until both are chosen.
fn free_ports() -> Result<(u16, u16), Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (first, second) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}
