//! `cargo xtask cluster up|down|status|kill|pause|resume|start|logs`: the services as processes of
//! their own on this machine, on real Cassandra and Redis.
//!
//! The crate `heddle-plan` says which services there are and what they are told, `up` starts them
//! and the `engines` below them, `process` is how one is started and signalled.
//!
//! Invariant: what a cluster is lies in its directory, so that every command finds it again.

pub mod drill;
mod engines;
mod ports;
mod process;
mod up;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use crate::check::{Failure, Outcome};
use crate::repo::Repo;
use process::Process;
use up::Up;

pub use up::build;

/// Where a cluster lives that was not told where.
const DIRECTORY: &str = "target/cluster";
/// How long the services may take until a message goes through.
const READY_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
/// Lines that `logs` shows.
const LOG_LINES: usize = 40;

#[derive(Subcommand)]
pub enum Task {
    /// Start Cassandra, Redis and the services, and wait until a message goes through.
    Up(Up),
    /// Stop all of it; what it has stored stays for the next `up`.
    Down {
        /// Remove that, too.
        #[arg(long)]
        purge: bool,
    },
    /// Say what runs and where.
    Status,
    /// SIGKILL to one process, such as chat-svc/2.
    Kill {
        /// Which.
        process: String,
    },
    /// SIGSTOP to one process.
    Pause {
        /// Which.
        process: String,
    },
    /// SIGCONT to one process that was paused.
    Resume {
        /// Which.
        process: String,
    },
    /// Start one process again.
    Start {
        /// Which.
        process: String,
    },
    /// Show the end of a process's log, and where it is.
    Logs {
        /// Which.
        process: String,
    },
}

/// Does what the command line says; `dir`: where the cluster lives, if not where it usually does.
pub fn perform(repo: &Repo, dir: Option<PathBuf>, task: Task) -> Outcome {
    let dir = match dir {
        Some(dir) => std::path::absolute(dir)?,
        None => repo.path(DIRECTORY),
    };
    let one = |name: &str| find(&dir, name);
    match task {
        Task::Up(options) => up::run(repo, &dir, &options),
        Task::Down { purge } => down(&dir, purge),
        Task::Status => status(&dir),
        Task::Kill { process } => signalled(&one(&process)?, "KILL"),
        Task::Pause { process } => signalled(&one(&process)?, "STOP"),
        Task::Resume { process } => signalled(&one(&process)?, "CONT"),
        Task::Start { process } => {
            one(&process)?.start()?;
            Ok(format!("{process} is started"))
        }
        Task::Logs { process } => logs(&one(&process)?),
    }
}

fn find(dir: &Path, name: &str) -> Result<Process, Failure> {
    let all = Process::all(dir)?;
    let names: Vec<_> = all.iter().map(Process::name).collect();
    let found = all.into_iter().find(|process| process.name() == name);
    found.ok_or_else(|| Failure::wrong(format!("no {name} here; there are {}", names.join(", "))))
}

fn signalled(process: &Process, signal: &str) -> Outcome {
    let name = process.name();
    match process.signal(signal)? {
        true => Ok(format!("SIG{signal} to {name}")),
        false => Err(Failure::wrong(format!(
            "{name} does not run; `cargo xtask cluster start {name}` starts it"
        ))),
    }
}

fn status(dir: &Path) -> Outcome {
    let mut lines = Vec::new();
    for process in Process::all(dir)? {
        let state = match process.pid()? {
            Some(pid) => format!("pid {pid}"),
            None => "does not run".to_owned(),
        };
        let log = process.log();
        lines.push(format!(
            "{:<16}{state:<16}{}",
            process.name(),
            log.display()
        ));
    }
    match lines.is_empty() {
        true => Ok("no cluster here; `cargo xtask cluster up` starts one".to_owned()),
        false => Ok(lines.join("\n")),
    }
}

fn logs(process: &Process) -> Outcome {
    let path: PathBuf = process.log();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    Ok(format!("{last}\n({})", path.display()))
}

fn down(dir: &Path, purge: bool) -> Outcome {
    let stopped = stop(dir)?;
    if purge && dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(format!("{stopped} processes stopped"))
}

/// Ends all that runs; how many did.
fn stop(dir: &Path) -> Result<usize, Failure> {
    let mut all: Vec<_> = Process::all(dir)?;
    // Gateways and chat nodes first: they have something to hand over.
    all.sort_by_key(|process| {
        let order = [
            "gateway",
            "chat-svc",
            "presence-svc",
            "notify-svc",
            "history-svc",
        ];
        let name = process.name();
        let place = order.iter().position(|service| name.starts_with(service));
        place.unwrap_or(order.len())
    });
    let mut stopped = 0;
    for process in &all {
        // A paused one cannot end.
        process.signal("CONT")?;
        stopped += usize::from(process.signal("TERM")?);
        process.ended()?;
    }
    Ok(stopped)
}
