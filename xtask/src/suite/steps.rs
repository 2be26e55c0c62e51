//! The steps of `cargo xtask test`, in order, and how each is done.
//!
//! `suite::run` walks [`STEPS`]; to add one, add a row and a function. Invariant: a step leaves
//! nothing behind but files in `target/`, and prints what it runs.

use std::process::Command;

use crate::build;
use crate::cassandra;
use crate::check::{Failure, Outcome};
use crate::cluster;
use crate::command;
use crate::docs;
use crate::k8s;
use crate::lab;
use crate::proto;
use crate::repo::Repo;
use crate::suite::cassandra_cpp;
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
        name: "build",
        about: "every program and every test",
        needs: None,
        run: build,
    },
    Step {
        name: "unit",
        about: "tests of every crate but e2e",
        needs: Some("build"),
        run: unit,
    },
    Step {
        name: "model",
        about: "the commit protocol, searched exhaustively",
        needs: None,
        run: model,
    },
    Step {
        name: "docs",
        about: "rustdoc, file names, pages that are made, planted bugs",
        needs: Some("build"),
        run: docs,
    },
    Step {
        name: "k8s",
        about: "manifests against schemas, our programs and pages",
        needs: Some("build"),
        run: k8s,
    },
    Step {
        name: "e2e",
        about: "scenarios over TCP",
        needs: Some("build"),
        run: e2e,
    },
    Step {
        name: "up",
        about: "a cluster as the README starts it: up, a kill, down, up again with what it stored",
        needs: Some("build"),
        run: up,
    },
    Step {
        name: "faults",
        about: "ten kills under load, checked",
        needs: Some("build"),
        run: faults,
    },
    Step {
        name: "cluster",
        about: "six kills in a cluster on Cassandra under load, checked",
        needs: Some("build"),
        run: cluster_kills,
    },
    Step {
        name: "strikes",
        about: "engines, pauses, copies, restarts and cut links in such a cluster, checked",
        needs: Some("build"),
        run: strikes,
    },
    Step {
        name: "power",
        about: "three power cuts under load, checked",
        needs: Some("build"),
        run: power,
    },
    Step {
        name: "full",
        about: "a disk that fills up under load, twice, checked",
        needs: Some("build"),
        run: full,
    },
    Step {
        name: "push",
        about: "pushes under kills and bad moods of their provider, checked",
        needs: Some("build"),
        run: push,
    },
    Step {
        name: "cassandra-cpp",
        about: "history-svc over the C++ driver, where a libcassandra is named",
        needs: Some("build"),
        run: cassandra_cpp::check,
    },
];

/// Faults of a cluster beyond the death of one process that take less than half a minute each. The
/// last is in a network of its own, where no node of Cassandra is; not every machine has one.
const STRIKES: [&str; 6] = [
    "redis",
    "redis-flush",
    "pause",
    "duplicate-sends",
    "rolling",
    "everything",
];
const STRIKE_APART: &str = "partition";

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
        .args(build::locked());
    command::run(cargo.args(["--", "-D", "warnings"]))?;
    Ok(String::new())
}

fn build(repo: &Repo, _: &mut Tally) -> Outcome {
    build::all(repo)
}

fn unit(repo: &Repo, tally: &mut Tally) -> Outcome {
    // What is missing is said once all that can run has run.
    let (redis, node) = (tools::redis_server(repo), cassandra::suite_node(repo));
    let web_push = tools::web_push_testing(repo);
    let targets = cargo_test(repo, &build::unit_targets(repo)?, tally);
    // Cargo runs examples in documentation only when they are all it is asked for.
    cargo_test(repo, &["--doc".to_owned()], tally).and(targets)?;
    node?;
    redis?;
    web_push?;
    Ok(said(tally))
}

fn model(_: &Repo, _: &mut Tally) -> Outcome {
    let mut cargo = tools::cargo();
    cargo.args(["run", "--release", "--package", "heddle-model"]);
    command::run(cargo.args(build::locked()))?;
    Ok("exhaustive (docs/model.md)".to_owned())
}

fn docs(repo: &Repo, _: &mut Tally) -> Outcome {
    docs::check(repo)
}

fn k8s(repo: &Repo, _: &mut Tally) -> Outcome {
    k8s::check(repo)
}

fn e2e(repo: &Repo, tally: &mut Tally) -> Outcome {
    let (grpcurl, node) = (tools::grpcurl(repo), cassandra::suite_node(repo));
    let ran = cargo_test(repo, &build::e2e_targets(repo)?, tally)?;
    grpcurl?;
    node?;
    Ok(ran)
}

fn up(repo: &Repo, _: &mut Tally) -> Outcome {
    cluster::drill::run(repo)
}

fn faults(repo: &Repo, _: &mut Tally) -> Outcome {
    lab::cycles(repo, "kill", 10)?;
    Ok("10 cycles".to_owned())
}

fn cluster_kills(repo: &Repo, _: &mut Tally) -> Outcome {
    lab::cluster_cycles(repo, "kill", 6, &cassandra::suite_node(repo)?)?;
    Ok("6 cycles".to_owned())
}

fn strikes(repo: &Repo, _: &mut Tally) -> Outcome {
    for fault in STRIKES {
        lab::cluster_cycles(repo, fault, 1, &cassandra::suite_node(repo)?)?;
    }
    lab::cluster_cycles(repo, STRIKE_APART, 1, "")?;
    Ok(format!("{} cycles", STRIKES.len() + 1))
}

fn power(repo: &Repo, _: &mut Tally) -> Outcome {
    lab::cycles(repo, "power", 3)?;
    Ok("3 cycles".to_owned())
}

fn full(repo: &Repo, _: &mut Tally) -> Outcome {
    lab::cycles(repo, "full", 2)?;
    Ok("2 cycles".to_owned())
}

fn push(repo: &Repo, _: &mut Tally) -> Outcome {
    lab::cycles(repo, "push", 6)?;
    Ok("6 cycles".to_owned())
}

/// Runs tests to the end, however many fail, and counts them.
fn cargo_test(repo: &Repo, which: &[String], tally: &mut Tally) -> Outcome {
    let mut cargo = tools::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(which)
        .args(build::locked());
    cargo.env("PATH", tools::search_path(repo));
    if let Ok(address) = cassandra::suite_node(repo) {
        cargo.env(cassandra::ADDRESS, address);
        // Tests that kill a node start one of their own. Not with this program's own file: the step
        // `build` may have put a newer one in its place.
        cargo.env(cassandra::XTASK, build::program(repo, false, "xtask"));
    }
    let ended = command::stream(&mut cargo, |line| tally.take(line));
    match ended {
        Ok(()) => Ok(said(tally)),
        Err(_) if tally.failed > 0 => Err(Failure::wrong(said(tally))),
        Err(why) => Err(why),
    }
}

fn said(tally: &Tally) -> String {
    let note = format!("{} passed, {} failed", tally.passed, tally.failed);
    match tally.ignored {
        0 => note,
        ignored => format!("{note}, {ignored} ignored"),
    }
}
