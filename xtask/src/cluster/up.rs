//! `up`: starts the engines and the services, and waits until a message goes through.
//!
//! What an earlier cluster stored in the same directory is taken over. Which processes there are
//! and what each is told is said anew, so that two chat nodes may follow on three.
//!
//! Invariant: when it fails, nothing runs that it has started.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use clap::Args;
use heddle_plan::{Places, Service, Size, Stores};

use super::ports::FreePorts;
use super::process::Process;
use super::{POLL, READY_WITHIN, engines, logs, stop};
use crate::build::program;
use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::Repo;
use crate::tools;

/// How many of each.
#[derive(Args)]
pub struct Up {
    /// Nodes of Cassandra: 1, 3 (on 127.0.0.1 to 3, three copies), or 0 for an embedded store.
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    cassandra: u8,
    /// Keep presence in memory instead of Redis.
    #[arg(long)]
    no_redis: bool,
    /// Chat nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) chat: u8,
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
    pub fn usual() -> Self {
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

/// Reads how many nodes of Cassandra there are to be.
fn nodes(text: &str) -> Result<u8, String> {
    match text.parse::<u8>() {
        Ok(count @ (0 | 1 | 3)) => Ok(count),
        _ => Err(
            "take 1 or 3, or 0 for an embedded store: of two nodes neither could be away, since \
             a majority of two copies is both"
                .to_owned(),
        ),
    }
}

/// Starts all of it; or nothing, if part of it does not start.
pub fn run(repo: &Repo, dir: &Path, options: &Up) -> Outcome {
    let known = Process::all(dir)?;
    for process in &known {
        if process.pid()?.is_some() {
            return Err(Failure::wrong(format!(
                "a cluster runs already ({} does); `cargo xtask cluster down` stops it",
                process.name()
            )));
        }
    }
    // From here on, what is known is what this run has started.
    for process in &known {
        process.forget()?;
    }
    let started = start(repo, dir, options);
    // Part of a cluster is of no use, and would be in the way of the next `up`.
    if started.is_err()
        && let Err(error) = stop(dir)
    {
        eprintln!("not all that was started is stopped again: {error}");
    }
    started
}

fn start(repo: &Repo, dir: &Path, options: &Up) -> Outcome {
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
        wait_for_a_message(dir, &heddle, url, &token)?;
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

/// Whether nothing has ended of what has been started so far. A message goes through without some
/// of them, until one is needed.
pub(super) fn all_run(dir: &Path) -> Result<(), Failure> {
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
fn wait_for_a_message(dir: &Path, heddle: &Path, url: &str, token: &str) -> Result<(), Failure> {
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
        // Nothing is started again by itself.
        all_run(dir)?;
        if Instant::now() > deadline {
            let said = String::from_utf8_lossy(&sent.stderr).into_owned();
            return Err(Failure::wrong(format!(
                "no message went through {url} within {READY_WITHIN:?}, and all is stopped again; \
                 the last answer:\n{said}\
                 `cargo xtask cluster logs chat-svc/1` and its like show why"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_two_nodes_of_cassandra() {
        assert_eq!(["0", "1", "3"].map(nodes), [Ok(0), Ok(1), Ok(3)]);
        for text in ["2", "4", "-1", "one", ""] {
            let told = nodes(text).unwrap_err();
            assert!(told.contains("1 or 3"), "{told}");
        }
    }
}
