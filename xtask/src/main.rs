//! Heddle's house keeping: `cargo xtask test` and what it is made of.
//!
//! Each subcommand is one module. It depends on nothing of Heddle itself, so that it starts while
//! the rest does not compile; what needs the product runs its binaries. Invariant: exit 0 only if
//! all held.

mod build;
mod cassandra;
mod check;
mod cluster;
mod command;
mod docs;
mod errors;
mod k8s;
mod lab;
mod plant;
mod proto;
mod repo;
mod settings;
mod suite;
mod tidy;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use check::{Failure, Outcome};
use clap::{Parser, Subcommand};
use repo::Repo;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Heddle's house keeping")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check: style, protocol, licences, tests, documentation.
    Test {
        /// Only these steps, in their usual order.
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        only: Vec<String>,
        /// Say which steps there are.
        #[arg(long)]
        list: bool,
        /// Stop at the first step that fails.
        #[arg(long)]
        fail_fast: bool,
    },
    /// Check the house style: sizes, markers, queues, sleeps, who depends on whom.
    Tidy {
        /// First wrap comments that are too long.
        #[arg(long)]
        fix: bool,
    },
    /// Lint the protocol and compare it with the last release.
    Proto {
        /// Then take it as the release that later ones are compared with.
        #[arg(long)]
        release: bool,
    },
    /// Make docs/errors.md from the protocol.
    Errors {
        /// Only say whether it is up to date.
        #[arg(long)]
        check: bool,
    },
    /// Make docs/heddle.sample.toml from the settings' declarations.
    Settings {
        /// Only say whether it is up to date.
        #[arg(long)]
        check: bool,
    },
    /// Run Heddle and the bare relays in turns, or the services of a cluster, and write their part
    /// of docs/performance.md.
    Bench {
        /// One process, or the services as processes of their own.
        #[arg(long, value_enum, default_value_t = lab::Shape::One)]
        shape: lab::Shape,
        /// Short loads: shows that it works, measures little.
        #[arg(long)]
        quick: bool,
        /// Only the result, as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start or stop one real Apache Cassandra node on this machine.
    Cassandra {
        #[command(subcommand)]
        task: cassandra::Task,
    },
    /// The services as processes of their own on this machine, on real Cassandra and Redis.
    Cluster {
        /// Where it lives: what it stores, logs, and what runs.
        #[arg(long, global = true, value_name = "DIR")]
        dir: Option<PathBuf>,
        #[command(subcommand)]
        task: cluster::Task,
    },
    /// Say where the server's CPU goes under a load, by hop: direct, paced or group. Needs `perf`.
    Profile {
        /// Which load, and `--seconds N`, `--json`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        load: Vec<String>,
    },
    /// Break a server on purpose under load and check what everybody got.
    Faults {
        /// Which suite and how, such as `kill --shape one --cycles 100 --seed 1 --json`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        suite: Vec<String>,
    },
    /// Plant bugs in a copy of the checkout and demand that the suite catches them.
    Plant {
        /// Which ones.
        names: Vec<String>,
        /// All of them.
        #[arg(long)]
        all: bool,
        /// Say which there are.
        #[arg(long)]
        list: bool,
        /// Make docs/planted-bugs.md from the patches.
        #[arg(long)]
        page: bool,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<bool, Failure> {
    let repo = Repo::find()?;
    match task {
        Task::Test { list: true, .. } => {
            suite::list();
            Ok(true)
        }
        Task::Test {
            only, fail_fast, ..
        } => suite::run(&repo, &only, fail_fast),
        Task::Tidy { fix: false } => said(tidy::run(&repo)),
        Task::Tidy { fix: true } => said(tidy::fix().and_then(|()| tidy::run(&repo))),
        Task::Proto { release: false } => said(proto::check(&repo)),
        Task::Proto { release: true } => said(proto::release(&repo)),
        Task::Errors { check: false } => said(errors::write(&repo)),
        Task::Errors { check: true } => said(errors::check(&repo)),
        Task::Settings { check: false } => said(settings::write(&repo)),
        Task::Settings { check: true } => said(settings::check(&repo)),
        Task::Bench { shape, quick, json } => lab::bench(&repo, shape, quick, json),
        Task::Cassandra { task } => said(cassandra::perform(&repo, task)),
        Task::Cluster { dir, task } => said(cluster::perform(&repo, dir, task)),
        Task::Profile { load } => lab::profile(&repo, &load),
        Task::Faults { suite } => lab::faults(&repo, &suite),
        Task::Plant { list: true, .. } => said(plant::list(&repo)),
        Task::Plant { page: true, .. } => said(plant::write_page(&repo)),
        Task::Plant { names, all, .. } => plant::run(&repo, &names, all),
    }
}

fn said(outcome: Outcome) -> Result<bool, Failure> {
    println!("{}", outcome?);
    Ok(true)
}
