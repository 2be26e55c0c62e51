//! `cargo xtask cluster up|down|status|kill|pause|resume|start|logs`: the services as processes of
//! their own on this machine, on real Cassandra and Redis.
//!
//! The crate `heddle-plan` says which services there are and what they are told, `process` starts
//! and signals all of them.
//!
//! Invariant: what a cluster is lies in its directory, so that every command finds it again.

pub mod drill;
mod engines;
mod ports;
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::build::program;
use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::Repo;
use crate::tools;
use heddle_plan::{Places, Service, Size, Stores};
use ports::FreePorts;
use process::Process;

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
    /// Stop all of it.
    Down {
        /// Remove what it has stored, too.
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

/// How many of each.
#[derive(Args)]
pub struct Up {
    /// Nodes of Cassandra: 1, 3 (on 127.0.0.1 to 3, three copies), or 0 for an embedded store.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    cassandra: u8,
    /// Keep presence in memory instead of Redis.
    #[arg(long)]
    no_redis: bool,
    /// Chat nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    chat: u8,
    /// Gateways.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    gateway: u8,
    /// history-svc; over an embedded store there is one.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    history: u8,
    /// presence-svc; without Redis there is one.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    presence: u8,
    /// notify-svc.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    notify: u8,
    /// Release builds of the services.
    #[arg(long)]
    release: bool,
}

impl Up {
    /// What the README starts.
    fn usual() -> Self {
        Self {
            cassandra: 1,
            no_redis: false,
            chat: 3,
            gateway: 2,
            history: 2,
            presence: 2,
            notify: 2,
            release: false,
        }
    }
}

/// Does what the command line says; `dir`: where the cluster lives, if not where it usually does.
pub fn perform(repo: &Repo, dir: Option<PathBuf>, task: Task) -> Outcome {
    let dir = match dir {
        Some(dir) => std::path::absolute(dir)?,
        None => repo.path(DIRECTORY),
    };
    let one = |name: &str| find(&dir, name);
    match task {
        Task::Up(options) => up(repo, &dir, &options),
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

fn up(repo: &Repo, dir: &Path, options: &Up) -> Outcome {
    if Process::all(dir)?
        .iter()
        .any(|it| matches!(it.pid(), Ok(Some(_))))
    {
        let text = "a cluster runs already; `cargo xtask cluster down` stops it";
        return Err(Failure::wrong(text));
    }
    let size = Size {
        history: options.history.into(),
        presence: options.presence.into(),
        notify: options.notify.into(),
        chat: options.chat.into(),
        gateway: options.gateway.into(),
    };
    let redis_server = match options.no_redis {
        true => None,
        false => Some(tools::redis_server(repo)?),
    };
    build(options.release)?;
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let heddle = program(repo, options.release, "heddle");
    let token = token(&heddle, &data)?;
    let redis = redis_server.map(|program| engines::redis(&program, dir));
    let redis = redis.transpose()?;
    let data = data.display();
    let stores = Stores {
        dir: data.to_string(),
        cassandra: engines::cassandra(repo, dir, options.cassandra)?,
        keyspace: None,
        redis: redis.into_iter().collect(),
        auth: heddle_plan::text(
            "gateway.auth.key_file",
            &format!("{data}/signing-key.pub.pem"),
        ),
        certificates: None,
    };
    let mut free = FreePorts::default();
    let places = Places::choose(size.over(&stores), |service| {
        free.for_service(service).map(heddle_plan::loopback)
    })?;
    drop(free);
    let services = heddle_plan::services(&places, &stores);
    for service in &services {
        define(repo, dir, options.release, service)?.start()?;
    }
    let gateways = places.gateway.iter();
    let urls: Vec<_> = gateways.map(|at| heddle_plan::url(*at)).collect();
    for url in &urls {
        wait_for_a_message(&heddle, url, &token)?;
    }
    all_run(dir)?;
    Ok(welcome(&heddle, dir, &urls, &token))
}

/// Every program, beside each other.
pub fn build(release: bool) -> Result<(), Failure> {
    let mut cargo = tools::cargo();
    cargo.args(["build", "--workspace", "--bins"]);
    if release {
        cargo.arg("--release");
    } else {
        // As the suite selects them, so that nothing is built twice.
        cargo.arg("--tests");
    }
    command::run(&mut cargo)
}

fn define(repo: &Repo, dir: &Path, release: bool, service: &Service) -> Result<Process, Failure> {
    let process = Process::at(dir.join(service.name.replace('/', "-")));
    let flags = service.settings.iter();
    let arguments: Vec<_> = flags
        .flat_map(|setting| ["--set".to_owned(), setting.clone()])
        .collect();
    process.define(&program(repo, release, service.binary), &arguments)?;
    Ok(process)
}

/// A message goes through without some of them, until one is needed.
fn all_run(dir: &Path) -> Result<(), Failure> {
    for process in Process::all(dir)? {
        if process.pid()?.is_none() {
            let (name, log) = (process.name(), logs(&process)?);
            return Err(Failure::wrong(format!("{name} has ended; its log:\n{log}")));
        }
    }
    Ok(())
}

/// A token, from a key that is made with the first one.
fn token(heddle: &Path, data: &Path) -> Result<String, Failure> {
    let mut command = Command::new(heddle);
    command.args([
        "token",
        "--as",
        "alice",
        "--ttl",
        "30d",
        "--make-key",
        "--data",
    ]);
    let output = command.arg(data).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::wrong(format!("no token: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A message that is stored says more than any port that answers.
fn wait_for_a_message(heddle: &Path, url: &str, token: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let sent = Command::new(heddle)
            .args([
                "send", "--target", url, "--token", token, "--with", "canary",
            ])
            .arg("the cluster is up")
            .stdin(Stdio::null())
            .output()?;
        if sent.status.success() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let said = String::from_utf8_lossy(&sent.stderr).into_owned();
            return Err(Failure::wrong(format!(
                "no message went through {url} within {READY_WITHIN:?}; the last answer:\n{said}\
                 `cargo xtask cluster status` says what runs, `logs` shows why not"
            )));
        }
        sleep(POLL);
    }
}

fn welcome(heddle: &Path, dir: &Path, urls: &[String], token: &str) -> String {
    let heddle = heddle.display();
    let data = dir.join("data");
    let (data, dir, first) = (data.display(), dir.display(), &urls[0]);
    let address = first.trim_start_matches("http://");
    format!(
        "The cluster is up; gateways: {}\n\n\
         Chat, in two other terminals:\n  \
         {heddle} chat --as alice --with bob --data {data} --target {first}\n  \
         {heddle} chat --as bob --with alice --data {data} --target {first}\n\n\
         Call the API as alice:\n  \
         grpcurl -plaintext -H \"authorization: Bearer {token}\" {address} \
         heddle.v1.ConversationService/ListConversations\n\n\
         Logs: {dir}/*/log; `cargo xtask cluster status|kill|pause|resume|start|logs|down`",
        urls.join(", ")
    )
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
    let mut running: Vec<_> = Process::all(dir)?;
    // Gateways and chat nodes first: they have something to hand over.
    running.sort_by_key(|process| {
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
    for process in &running {
        // A paused one cannot end.
        process.signal("CONT")?;
        stopped += usize::from(process.signal("TERM")?);
        process.ended()?;
    }
    if purge && dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(format!("{stopped} processes stopped"))
}
