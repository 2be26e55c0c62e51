//! How long a planned drain holds up a send: every process in turn is ended by SIGTERM and started
//! again under a paced load that leaves the machine room.
//!
//! The twin of `rolling` ([`super::cluster`]), whose mixed workload takes all the CPU there is and
//! so says what holds, not how long it takes. One load without a drain comes first, to compare
//! with. Sessions are the SDK's and come back when a gateway sends them away.
//!
//! Invariant: a send counts from the instant at which it was due, whatever held it up, and one that
//! is lost fails the run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use heddle_plan::Size;
use serde::Serialize;

use super::FaultError;
use super::cycles::{CycleOptions, Shape};
use crate::load::{self, LoadReport, Plan};
use crate::measure::Percentiles;
use crate::progress::Progress;
use crate::target::TargetError;
use crate::target::cluster::{Cluster, programs};
use crate::target::sdk_transport::SdkTransport;

/// What a planned drain may hold up a send.
const STALL_MAX: Duration = Duration::from_millis(200);
/// What a process may take to drain.
const GRACE: Duration = Duration::from_secs(30);
/// From the beginning of the measured load to the drain.
const BEFORE: Duration = Duration::from_secs(1);
/// Where nothing is drained, and around one: shards come back to a new node meanwhile.
const LOAD: Duration = Duration::from_secs(12);
/// The load that nothing is done to.
const QUIET: &str = "none";

/// How often, and how busy.
#[derive(Clone, Debug, Args)]
pub struct DrainOptions {
    /// As in every suite; nothing is left to chance
    #[command(flatten)]
    pub cycles: CycleOptions,
    /// Users, in pairs
    #[arg(long, default_value_t = 64)]
    pub users: u32,
    /// Messages a second, in all
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
    /// Drain only services whose names begin so: `chat-svc`, or `history-svc/2,chat-svc/1`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
}

/// What came of the drains of one service.
#[derive(Clone, Debug, Default, Serialize)]
struct Drains {
    /// How many.
    drains: u32,
    /// Sends of which the time was taken.
    sends: u64,
    /// From due to stored, in milliseconds: the middle, and 99 of 100, of the worst load.
    p50_ms: u64,
    p99_ms: u64,
    /// The longest.
    stall_max_ms: u64,
    /// From due to delivered, the longest.
    delivered_max_ms: u64,
    /// From SIGTERM to taking connections again, the longest.
    away_max_ms: u64,
}

impl Drains {
    fn add(&mut self, report: &LoadReport, away: Duration) {
        let stored = &report.stored_latency;
        let ms = |us: u64| us / 1000;
        let raise = |most: &mut u64, value: u64| *most = (*most).max(value);
        self.drains += 1;
        self.sends += stored.count;
        raise(&mut self.p50_ms, ms(stored.p50_us));
        raise(&mut self.p99_ms, ms(stored.p99_us));
        raise(&mut self.stall_max_ms, ms(stored.max_us));
        raise(
            &mut self.delivered_max_ms,
            ms(report.delivered_latency.max_us),
        );
        raise(&mut self.away_max_ms, away.as_millis() as u64);
    }
}

/// What came of all.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    cycles: u32,
    rate: u32,
    /// By service.
    drained: BTreeMap<String, Drains>,
    /// Loads that lost something, in words.
    lost: Vec<String>,
    /// Services whose drain held up a send for longer than it may.
    late: Vec<String>,
}

impl Report {
    fn judge(&mut self) -> bool {
        let bound_ms = STALL_MAX.as_millis() as u64;
        let drained = self.drained.iter().filter(|(name, _)| *name != QUIET);
        let late = drained.filter(|(_, drains)| drains.stall_max_ms > bound_ms);
        self.late = late.map(|(name, _)| name.clone()).collect();
        self.lost.is_empty() && self.late.is_empty()
    }
}

/// Drains all and prints the result; false when a send was lost or held up too long.
pub async fn run(options: &DrainOptions) -> Result<bool, FaultError> {
    if options.cycles.shape != Shape::Cluster {
        let text = "this fault needs several processes: --shape cluster".to_owned();
        return Err(FaultError::Unfit(text));
    }
    let programs = programs(options.cycles.program.as_deref())?;
    let mut cluster = Cluster::start(&programs, Size::default()).await?;
    eprintln!("{} processes, {}", cluster.len(), cluster.stores());
    let mut plan = Plan::paced_pairs(options.users, options.rate);
    plan.duration = LOAD;
    let transport = SdkTransport::prepare(cluster.target(), &plan).await?;
    // Engines come after the services, and are not drained.
    let mut names = cluster.names("");
    names.truncate(cluster.len());
    let only = &options.only;
    let chosen = |name: &String| {
        only.is_empty() || only.iter().any(|begin| name.starts_with(begin.as_str()))
    };
    let drains = names.iter().filter(|name| chosen(name)).count() as u64;
    let loads = (drains + 1) * u64::from(options.cycles.cycles);
    let progress = Progress::new("drain", loads, options.cycles.json);
    let mut report = Report {
        cycles: options.cycles.cycles,
        rate: options.rate,
        ..Report::default()
    };
    for _ in 0..options.cycles.cycles {
        let quiet = load::run(&transport, &plan).await?;
        take(
            &mut report,
            QUIET,
            &quiet,
            Duration::ZERO,
            options.cycles.json,
        );
        progress.add(1);
        for (index, name) in names.iter().enumerate().filter(|(_, name)| chosen(name)) {
            let drain = async {
                tokio::time::sleep(plan.warmup + BEFORE).await;
                let began = Instant::now();
                cluster.replace(index, &programs, GRACE).await?;
                Ok::<_, TargetError>(began.elapsed())
            };
            let (loaded, away) = tokio::join!(load::run(&transport, &plan), drain);
            take(&mut report, name, &loaded?, away?, options.cycles.json);
            progress.add(1);
        }
    }
    progress.finish();
    let held = report.judge();
    println!("{}", serde_json::to_string(&report).unwrap_or_default());
    Ok(held)
}

fn take(report: &mut Report, name: &str, loaded: &LoadReport, away: Duration, is_json: bool) {
    let Percentiles {
        p50_us,
        p99_us,
        max_us,
        ..
    } = loaded.stored_latency;
    if !is_json {
        eprintln!(
            "{name}: away {:.1} s; from due to stored {} ms, 99% {} ms, longest {} ms",
            away.as_secs_f64(),
            p50_us / 1000,
            p99_us / 1000,
            max_us / 1000,
        );
    }
    if !loaded.is_complete() {
        report.lost.push(format!("{name}: {}", loaded.losses()));
    }
    let service = name.split('/').next().unwrap_or(name).to_owned();
    report.drained.entry(service).or_default().add(loaded, away);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_stall_or_a_lost_send_fails() {
        let mut loaded = LoadReport::default();
        loaded.stored_latency.max_us = 200_999;
        let mut report = Report::default();
        take(&mut report, "chat-svc/1", &loaded, Duration::ZERO, true);
        assert!(report.judge());
        loaded.stored_latency.max_us = 201_000;
        take(&mut report, QUIET, &loaded, Duration::ZERO, true);
        assert!(report.judge(), "the machine is no drain");
        take(&mut report, "chat-svc/2", &loaded, Duration::ZERO, true);
        assert!(!report.judge());
        assert_eq!(
            (report.late, report.drained["chat-svc"].drains),
            (vec!["chat-svc".into()], 2)
        );
        loaded = LoadReport {
            sent: 1,
            unanswered: 1,
            ..LoadReport::default()
        };
        let mut report = Report::default();
        take(&mut report, QUIET, &loaded, Duration::ZERO, true);
        assert!(!report.judge());
    }
}
