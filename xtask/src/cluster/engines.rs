//! Engines: Redis and the nodes of Cassandra, started before the services.
//!
//! Invariant: each answers before anything that needs it is started.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::Instant;

use super::ports::FreePorts;
use super::process::Process;
use super::{POLL, READY_WITHIN, all_run, logs};
use crate::cassandra;
use crate::check::Failure;
use crate::repo::Repo;

/// Redis among the processes.
const REDIS: &str = "redis-1";

/// Starts Redis, and waits for it; its URL.
pub fn redis(program: &Path, dir: &Path) -> Result<String, Failure> {
    let port = FreePorts::default().any()?;
    let process = Process::at(dir.join(REDIS));
    let arguments = [
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
    ];
    process.define(program, &arguments.map(str::to_owned))?;
    process.start()?;
    let deadline = Instant::now() + READY_WITHIN;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        all_run(dir)?;
        if Instant::now() > deadline {
            return Err(Failure::wrong(format!(
                "Redis does not answer:\n{}",
                logs(&process)?
            )));
        }
        sleep(POLL);
    }
    Ok(format!("redis://127.0.0.1:{port}"))
}

/// Starts nodes of Cassandra, which find each other; where they speak CQL.
pub fn cassandra(repo: &Repo, dir: &Path, count: u8) -> Result<Vec<String>, Failure> {
    let dirs: Vec<_> = (1..=count)
        .map(|number| dir.join(format!("cassandra-{number}")))
        .collect();
    if dirs.is_empty() {
        return Ok(Vec::new());
    }
    eprintln!("starting Cassandra, which takes up to a minute");
    let ring = cassandra::ring(repo, &dirs, true)?;
    for (number, (dir, node)) in dirs.iter().zip(&ring).enumerate() {
        let process = Process::at(dir.clone());
        process.define(Path::new(&node.program), &node.arguments)?;
        process.start()?;
        if number == 0 {
            // The others look for it.
            cassandra::wait_for(node.address)?;
        }
    }
    for node in &ring {
        cassandra::wait_for(node.address)?;
    }
    Ok(ring.iter().map(|node| node.address.to_string()).collect())
}
