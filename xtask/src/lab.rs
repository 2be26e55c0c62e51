//! What measures and breaks the product: `cargo xtask bench`, `profile` and `faults`.
//!
//! Builds the `heddle` and `heddle-lab` programs and lets the latter do it, since xtask itself
//! depends on nothing of Heddle. Invariant: both programs are of one build.

use std::process::Command;

use crate::build::program;
use crate::cassandra;
use crate::check::Failure;
use crate::command;
use crate::repo::Repo;
use crate::tools;

/// The page that a bench writes.
const PAGE: &str = "docs/performance.md";

/// Runs Heddle and the bare relays in turns; always a release build.
pub fn bench(repo: &Repo, quick: bool, json: bool) -> Result<bool, Failure> {
    let mut lab = built(repo, true)?;
    lab.args(["compare", "--page", PAGE]);
    flag(&mut lab, quick, "--quick");
    flag(&mut lab, json, "--json");
    held(&mut lab)
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
    let mut lab = built(repo, program(repo, true, "heddle").exists())?;
    held(lab.args(arguments))
}

/// The cycles that every run of the test command makes, with what the step `build` has built.
pub fn cycles(repo: &Repo, fault: &str, cycles: u32) -> Result<(), Failure> {
    let mut lab = Command::new(program(repo, false, "heddle-lab"));
    let cycles = cycles.to_string();
    lab.current_dir(repo.root())
        .args([fault, "--cycles", &cycles]);
    command::run(&mut lab)
}

/// The same in a cluster, on the Cassandra node at `address`.
pub fn cluster_cycles(repo: &Repo, cycles: u32, address: &str) -> Result<(), Failure> {
    let mut lab = Command::new(program(repo, false, "heddle-lab"));
    lab.current_dir(repo.root())
        .env(cassandra::ADDRESS, address)
        .args([
            "kill",
            "--shape",
            "cluster",
            "--cycles",
            &cycles.to_string(),
        ]);
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

fn flag(command: &mut Command, given: bool, flag: &str) {
    if given {
        command.arg(flag);
    }
}

fn held(command: &mut Command) -> Result<bool, Failure> {
    command::run(command).map(|()| true)
}
