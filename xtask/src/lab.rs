//! What measures and breaks the product: `cargo xtask bench`, `profile` and `faults`.
//!
//! Builds the `heddle` and `heddle-lab` programs and lets the latter do it, since xtask itself
//! depends on nothing of Heddle. Invariant: both programs are of one build.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::build::program;
use crate::cassandra::{self, BenchNode};
use crate::check::Failure;
use crate::cluster;
use crate::command;
use crate::repo::Repo;
use crate::tools;

/// The page that a bench writes.
const PAGE: &str = "docs/performance.md";

/// Tells the lab how nodes of Cassandra are started.
const NODES: &str = "TEST_CASSANDRA_NODES";

/// What a bench measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Heddle in one process, and the bare relays in turns with it
    One,
    /// The services as processes of their own, on a node of Cassandra and on Redis
    Cluster,
}

/// Runs a bench, which writes its part of the page; always a release build.
pub fn bench(repo: &Repo, shape: Shape, quick: bool, json: bool) -> Result<bool, Failure> {
    let common = |lab: &mut Command| {
        lab.args(["--page", PAGE]);
        flag(lab, quick, "--quick");
        flag(lab, json, "--json");
        held(lab)
    };
    if shape == Shape::One {
        return common(built(repo, true)?.arg("compare"));
    }
    let mut lab = built_whole(repo, true)?;
    // Without it presence would be in memory, and its CPU nobody's.
    tools::redis_server(repo)?;
    let node = BenchNode::start(repo)?;
    lab.env("PATH", tools::search_path(repo))
        .env(cassandra::ADDRESS, &node.address)
        .env_remove(NODES)
        .args(["compare-cluster", "--cassandra-pid"])
        .arg(node.pid().to_string())
        .arg("--window-ms")
        .arg(cassandra::COMMIT_LOG_WINDOW_MS.to_string())
        .arg("--disk")
        .arg(&node.dir);
    common(&mut lab)
}

/// Profiles the server under a load. Stacks can only be walked with frame pointers, so that this is
/// a build of its own, beside the others.
pub fn profile(repo: &Repo, arguments: &[String]) -> Result<bool, Failure> {
    let target = repo.root().join("target/profile");
    let mut cargo = tools::cargo();
    cargo
        .args([
            "build",
            "--release",
            "-p",
            "heddle",
            "-p",
            "heddle-lab",
            "--bins",
        ])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-C force-frame-pointers=yes");
    command::run(&mut cargo)?;
    let mut lab = Command::new(target.join("release/heddle-lab"));
    held(lab.current_dir(repo.root()).arg("profile").args(arguments))
}

/// Runs a fault suite, with its own arguments: `kill --shape one --cycles 10 --seed 1 --json`.
pub fn faults(repo: &Repo, arguments: &[String]) -> Result<bool, Failure> {
    let release = program(repo, true, "heddle").exists();
    let mut lab = match arguments.iter().any(|word| word == "cluster") {
        true => built_whole(repo, release)?,
        false => built(repo, release)?,
    };
    lab.env("PATH", tools::search_path(repo));
    let nodes = match arguments.first().map(String::as_str) {
        Some("cassandra-node" | "cassandra-down" | "everything") => 3,
        Some("redis" | "redis-flush" | "redis-down" | "pause") => 1,
        _ => 0,
    };
    let theirs = std::env::var_os(cassandra::ADDRESS).is_some() && nodes < 3;
    if nodes > 0 && !theirs {
        lab.env(NODES, planned_nodes(repo, nodes)?);
    }
    held(lab.args(arguments))
}

/// What the lab needs to start nodes of Cassandra, and to kill them.
fn planned_nodes(repo: &Repo, count: usize) -> Result<PathBuf, Failure> {
    let dir = repo.path("target/faults-cassandra");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let dirs: Vec<_> = (1..=count)
        .map(|number| dir.join(number.to_string()))
        .collect();
    for (dir, node) in dirs.iter().zip(cassandra::ring(repo, &dirs, false)?) {
        let words = std::iter::once(&node.program).chain(&node.arguments);
        let words: Vec<_> = words.map(String::as_str).collect();
        fs::write(dir.join("command"), words.join("\n"))?;
        fs::write(dir.join("address"), node.address.to_string())?;
    }
    Ok(dir)
}

/// The cycles that every run of the test command makes, with what the step `build` has built.
pub fn cycles(repo: &Repo, fault: &str, cycles: u32) -> Result<(), Failure> {
    let mut lab = Command::new(program(repo, false, "heddle-lab"));
    let cycles = cycles.to_string();
    lab.current_dir(repo.root())
        .args([fault, "--cycles", &cycles]);
    command::run(&mut lab)
}

/// The same in a cluster, on the Cassandra node at `address`; none: on the embedded store.
pub fn cluster_cycles(repo: &Repo, fault: &str, cycles: u32, address: &str) -> Result<(), Failure> {
    let mut lab = Command::new(program(repo, false, "heddle-lab"));
    let cycles = cycles.to_string();
    lab.current_dir(repo.root())
        .env("PATH", tools::search_path(repo))
        .env(cassandra::ADDRESS, address)
        .args([fault, "--shape", "cluster", "--cycles", &cycles]);
    command::run(&mut lab)
}

fn built(repo: &Repo, release: bool) -> Result<Command, Failure> {
    let mut cargo = tools::cargo();
    cargo.args([
        "build",
        "-p",
        "heddle",
        "-p",
        "heddle-lab",
        "--bins",
        "--quiet",
    ]);
    flag(&mut cargo, release, "--release");
    command::run(&mut cargo)?;
    let mut lab = Command::new(program(repo, release, "heddle-lab"));
    lab.current_dir(repo.root());
    Ok(lab)
}

/// The same with the services' own programs beside it.
fn built_whole(repo: &Repo, release: bool) -> Result<Command, Failure> {
    cluster::build(release)?;
    let mut lab = Command::new(program(repo, release, "heddle-lab"));
    lab.current_dir(repo.root());
    Ok(lab)
}

fn flag(command: &mut Command, given: bool, flag: &str) {
    if given {
        command.arg(flag);
    }
}

fn held(command: &mut Command) -> Result<bool, Failure> {
    command::run(command).map(|()| true)
}
