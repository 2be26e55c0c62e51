//! The steps of `cargo xtask test`, in order, and how each is done.
//!
//! `suite::run` walks [`STEPS`]; to add one, add a row and a function. Invariant: a step leaves
//! nothing behind but files in `target/`, and prints what it runs.

use std::process::Command;

use crate::cassandra;
use crate::check::{Failure, Outcome};
use crate::command;
use crate::docs;
use crate::lab;
use crate::proto;
use crate::repo::Repo;
use crate::suite::tally::Tally;
use crate::tidy;
use crate::tools;

/// One row of the table.
pub struct Step {
    /// As given to `--only`.
    pub name: &'static str,
    /// One line for `--list`.
    pub about: &'static str,
    /// A step without which this one proves nothing.
    pub needs: Option<&'static str>,
    /// What it does; tests are counted in the tally.
    pub run: fn(&Repo, &mut Tally) -> Outcome,
}

/// Cheap ones first, so that a slip is told within seconds.
pub const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "rustfmt changes nothing",
        needs: None,
        run: fmt,
    },
    Step {
        name: "tidy",
        about: "the house style (cargo xtask tidy)",
        needs: None,
        run: tidy,
    },
    Step {
        name: "proto",
        about: "buf lint and breaking",
        needs: None,
        run: proto,
    },
    Step {
        name: "deny",
        about: "licences, bans, sources",
        needs: None,
        run: deny,
    },
    Step {
        name: "clippy",
        about: "all targets, no warning",
        needs: None,
        run: clippy,
    },
    Step {
        name: "unit",
        about: "tests of every crate but e2e",
        needs: None,
        run: unit,
    },
    Step {
        name: "docs",
        about: "rustdoc, file names, errors.md",
        needs: None,
        run: docs,
    },
    Step {
        name: "build",
        about: "the binaries that e2e starts",
        needs: None,
        run: build,
    },
    Step {
        name: "e2e",
        about: "scenarios over TCP",
        needs: Some("build"),
        run: e2e,
    },
    Step {
        name: "faults",
        about: "ten kills under load, checked",
        needs: Some("build"),
        run: faults,
    },
];

fn fmt(_: &Repo, _: &mut Tally) -> Outcome {
    command::run(tools::cargo().args(["fmt", "--all", "--check"]))
        .map_err(|_| Failure::wrong("run `cargo fmt --all`"))?;
    Ok(String::new())
}

fn tidy(repo: &Repo, _: &mut Tally) -> Outcome {
    tidy::run(repo)
}

fn proto(repo: &Repo, _: &mut Tally) -> Outcome {
    proto::check(repo)
}

fn deny(repo: &Repo, _: &mut Tally) -> Outcome {
    let mut deny = Command::new(tools::cargo_deny(repo)?);
    // Duplicate versions are listed by `cargo deny check bans`; here they would bury what matters.
    deny.args([
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    command::run(deny.current_dir(repo.root()))?;
    Ok(String::new())
}

fn clippy(_: &Repo, _: &mut Tally) -> Outcome {
    let mut cargo = tools::cargo();
    cargo
        .args(["clippy", "--workspace", "--all-targets"])
        .args(locked());
    command::run(cargo.args(["--", "-D", "warnings"]))?;
    Ok(String::new())
}

fn unit(repo: &Repo, tally: &mut Tally) -> Outcome {
    let node = cassandra::suite_node(repo);
    let ran = cargo_test(repo, &["--workspace", "--exclude", "heddle-e2e"], tally)?;
    node?;
    Ok(ran)
}

fn docs(repo: &Repo, _: &mut Tally) -> Outcome {
    docs::check(repo)
}

/// With the tests, so that dependencies have the features of `unit` and none is built twice.
fn build(_: &Repo, _: &mut Tally) -> Outcome {
    let mut cargo = tools::cargo();
    cargo.args([
        "build",
        "--workspace",
        "--exclude",
        "heddle-e2e",
        "--bins",
        "--tests",
    ]);
    command::run(cargo.args(locked()))?;
    Ok(String::new())
}

fn e2e(repo: &Repo, tally: &mut Tally) -> Outcome {
    let (grpcurl, node) = (tools::grpcurl(repo), cassandra::suite_node(repo));
    let ran = cargo_test(repo, &["--package", "heddle-e2e"], tally)?;
    grpcurl?;
    node?;
    Ok(ran)
}

fn faults(repo: &Repo, _: &mut Tally) -> Outcome {
    lab::kill_cycles(repo, 10)?;
    Ok("10 cycles".to_owned())
}

/// Runs tests to the end, however many fail, and counts them.
fn cargo_test(repo: &Repo, which: &[&str], tally: &mut Tally) -> Outcome {
    let mut cargo = tools::cargo();
    cargo
        .arg("test")
        .args(which)
        .args(locked())
        .arg("--no-fail-fast");
    cargo.env("PATH", tools::search_path(repo));
    if let Ok(address) = cassandra::suite_node(repo) {
        cargo.env(cassandra::ADDRESS, address);
        // Tests that kill a node start one of their own.
        cargo.env(cassandra::XTASK, std::env::current_exe()?);
    }
    let ended = command::stream(&mut cargo, |line| tally.take(line));
    let note = format!("{} passed, {} failed", tally.passed, tally.failed);
    let note = match tally.ignored {
        0 => note,
        ignored => format!("{note}, {ignored} ignored"),
    };
    match ended {
        Ok(()) => Ok(note),
        Err(_) if tally.failed > 0 => Err(Failure::wrong(note)),
        Err(why) => Err(why),
    }
}

/// In CI the lock file is the truth; at home cargo may complete it after a change.
fn locked() -> Option<&'static str> {
    tools::in_ci().then_some("--locked")
}
