//! Where the server's CPU goes under a load, by hop: `cargo xtask profile direct`.
//!
//! A server of our own is driven by the bench's load while `perf record` samples its stacks;
//! [`hops`] sorts them. The program must have been built with frame pointers, which xtask sees to.
//!
//! Invariant: the samples lie within the measured time of the load, whose CPU per item they divide.

pub mod hops;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::process::Command;

use crate::bench::{BenchError, Load, drive_heddle, plan};
use crate::load::LoadReport;
use crate::target::{HeddleServer, ServerOptions};
use hops::{Hop, Samples};

/// Samples a second, off the beat of timers.
const SAMPLES_PER_SECOND: u32 = 997;
/// The load's warm-up, in which nothing is sampled, and connecting before that.
const BEFORE_SAMPLES: Duration = Duration::from_secs(4);

/// What to profile.
#[derive(Clone, Copy, Debug, Args)]
pub struct ProfileOptions {
    /// The load: direct, paced or group
    #[arg(value_enum)]
    pub load: Load,
    /// How long the stacks are sampled
    #[arg(long, default_value_t = 8)]
    pub seconds: u64,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

/// One hop's part.
#[derive(Clone, Debug, Serialize)]
pub struct HopCost {
    /// Which.
    pub hop: String,
    /// Of the server's CPU, from 0 to 1.
    pub share: f64,
    /// For each item, in microseconds.
    pub cpu_us: f64,
}

/// Profiles, and prints the table. False when the load lost something.
pub async fn run(options: &ProfileOptions) -> Result<bool, BenchError> {
    let server = HeddleServer::start(None, ServerOptions::default().without_rates()).await?;
    let Some(pid) = server.pid() else {
        return Err(BenchError::Session("the server has no process".into()));
    };
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("perf.data");
    let mut plan = plan(options.load, None, 16, None);
    plan.duration = BEFORE_SAMPLES + Duration::from_secs(options.seconds);
    plan.server_pid = Some(pid);
    let sampling = async {
        tokio::time::sleep(BEFORE_SAMPLES).await;
        record(pid, options.seconds, &file).await
    };
    let (report, recorded) = tokio::join!(drive_heddle(server.target(), &plan), sampling);
    let (report, ()) = (report?, recorded?);
    let samples = Samples::of_script(&script(&file).await?);
    print(options, &report, &samples);
    Ok(report.is_complete())
}

async fn record(pid: u32, seconds: u64, file: &Path) -> Result<(), BenchError> {
    let recorded = Command::new("perf")
        .args([
            "record",
            "--quiet",
            "-e",
            "cpu-clock",
            "--call-graph",
            "fp",
            "-F",
        ])
        .arg(SAMPLES_PER_SECOND.to_string())
        .args(["-p", &pid.to_string(), "-o"])
        .arg(file)
        .args(["--", "sleep", &seconds.to_string()])
        .output()
        .await;
    let recorded = recorded.map_err(|error| {
        let hint = "install it (linux-perf on Debian) and allow it to sample other processes";
        BenchError::Session(format!("`perf` cannot be started ({error}): {hint}"))
    })?;
    if recorded.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&recorded.stderr).into_owned();
    Err(BenchError::Session(format!("`perf record` failed: {why}")))
}

async fn script(file: &Path) -> Result<String, BenchError> {
    let shown = Command::new("perf")
        .args(["script", "-F", "comm,ip,sym", "-i"])
        .arg(file)
        .output()
        .await?;
    Ok(String::from_utf8_lossy(&shown.stdout).into_owned())
}

fn print(options: &ProfileOptions, report: &LoadReport, samples: &Samples) {
    let (item, cpu_us) = match options.load {
        Load::Group => ("delivery", report.server_cpu_us_per_delivery),
        _ => ("message", report.server_cpu_us_per_message),
    };
    let cpu_us = cpu_us.unwrap_or(0.0);
    let cost = |(hop, share): (Hop, f64)| HopCost {
        hop: format!("{hop:?}"),
        share,
        cpu_us: share * cpu_us,
    };
    let costs: Vec<HopCost> = samples.shares().map(cost).collect();
    if options.json {
        return println!(
            "{}",
            serde_json::json!({ "item": item, "cpu_us": cpu_us, "hops": costs })
        );
    }
    println!(
        "{} samples, {cpu_us:.1} us of server CPU a {item}\n",
        samples.total()
    );
    println!("| hop | share | us a {item} |\n|---|---|---|");
    for HopCost { hop, share, cpu_us } in costs {
        println!("| {hop} | {:.0}% | {cpu_us:.1} |", share * 100.0);
    }
}
