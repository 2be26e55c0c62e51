//! Engines: Redis and the nodes of Cassandra, started before the services.
//!
//! Redis forgets what it has when it ends, as presence may; nodes of Cassandra keep it.
//!
//! Invariant: each answers before anything that needs it is started.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::Instant;

use super::ports::FreePorts;
use super::process::Process;
use super::up::all_run;
use super::{POLL, READY_WITHIN, logs};
use crate::cassandra;
use crate::check::Failure;
use crate::repo::Repo;

/// Redis among the processes.
const REDIS: &str = "redis-1";
/// Names the file, beside the rest of what is stored, that says what the nodes' data is of.
const RING: &str = "data/ring";

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
    let ring = cassandra::ring_at(repo, &dirs, true, || ring_ports(dir, count))?;
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

/// Where so many nodes speak CQL, and where with each other. They keep both together with their
/// data, as long as the ports are free: each remembers where the others are.
fn ring_ports(dir: &Path, count: u8) -> Result<(u16, u16), Failure> {
    let mut free = FreePorts::default();
    let (port, between) = match kept_ports(dir, count)? {
        Some((port, between)) if free.hold(port) && free.hold(between) => (port, between),
        _ => (free.any()?, free.any()?),
    };
    fs::write(dir.join(RING), format!("{count} {port} {between}\n"))?;
    Ok((port, between))
}

/// The ports that the nodes had, if something is stored; refused if they were not as many.
fn kept_ports(dir: &Path, count: u8) -> Result<Option<(u16, u16)>, Failure> {
    let kept = match fs::read_to_string(dir.join(RING)) {
        Ok(text) => parse_ring(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    match kept {
        // Fewer could not read all of it, and to more it would have to be copied.
        Some((nodes, _)) if nodes != count => Err(Failure::wrong(format!(
            "what is stored in {} lies on as many nodes of Cassandra as `--cassandra {nodes}` \
             starts: go on with that, or remove it first with `cargo xtask cluster down --purge`",
            dir.display()
        ))),
        kept => Ok(kept.map(|(_, ports)| ports)),
    }
}

/// How many nodes, and their ports; nothing if it is not that.
fn parse_ring(text: &str) -> Option<(u8, (u16, u16))> {
    let mut words = text.split_whitespace();
    let nodes = words.next()?.parse::<u8>().ok()?;
    let mut port = || words.next()?.parse::<u16>().ok();
    Some((nodes, (port()?, port()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_keep_their_ports_and_their_number_with_their_data() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kept_ports(dir.path(), 1), Ok(None), "nothing is stored");
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join(RING), "3 17001 17002\n").unwrap();
        assert_eq!(kept_ports(dir.path(), 3), Ok(Some((17_001, 17_002))));
        let told = kept_ports(dir.path(), 1).unwrap_err().to_string();
        assert!(told.contains("--cassandra 3"), "{told}");
    }

    #[test]
    fn half_a_ring_is_none() {
        assert_eq!(parse_ring("1 17001 17002"), Some((1, (17_001, 17_002))));
        for text in ["", "3", "3 17001", "three 17001 17002", "3 17001 99999"] {
            assert_eq!(parse_ring(text), None, "{text}");
        }
    }
}
