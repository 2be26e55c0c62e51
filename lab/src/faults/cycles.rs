//! Cycles of a fault: the mixed workload, the fault at a random instant, all settled and checked.
//!
//! [`super::kill`], [`super::cluster`], [`super::power`] and [`super::full`] say what the fault is.
//! The server keeps its data over all cycles; each cycle has people and groups of its own, so that
//! its history is complete.
//!
//! Invariant: what follows from chance follows from the seed, but for the instants, which the
//! machine's pace decides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::checker::{self, Verdict};
use crate::measure::{Latency, Lateness, Percentiles};
use crate::progress::Progress;
use crate::target::cluster::Cluster;
use crate::target::{HeddleServer, Target, TargetError};
use crate::workload::{Size, World};

use super::FaultError;
use super::cluster::Raw;

/// Acknowledged sends before the fault, at least; up to twice as many.
const ACKNOWLEDGED_MIN: u64 = 500;
/// How long after that the fault comes, at most.
const DELAY_MAX_US: u64 = 30_000;
/// How long people go on after the restart.
const AFTER: Duration = Duration::from_millis(300);
/// A cycle whose load does not get anywhere for so long has failed.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether enough was acknowledged.
const POLL: Duration = Duration::from_millis(1);

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// One process with all services
    One,
    /// The services as processes of their own; each fault strikes one of them
    Cluster,
}

/// How often, and what.
#[derive(Clone, Debug, Args)]
pub struct CycleOptions {
    /// What is struck
    #[arg(long, value_enum, default_value = "one")]
    pub shape: Shape,
    /// How often
    #[arg(long, default_value_t = 10)]
    pub cycles: u32,
    /// What is left to chance follows from this
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only the result, as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Where the history of a cycle with a verdict is kept
    #[arg(long, value_name = "DIR", default_value = "target/faults")]
    pub keep: PathBuf,
    /// The `heddle` program; by default the one beside this
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CycleReport {
    /// Faults survived.
    pub cycles: u32,
    /// Sends acknowledged in all.
    pub acknowledged: u64,
    /// Asked and not answered at each fault.
    pub in_flight_at_kill: Vec<u64>,
    /// How often each promise was broken.
    pub verdicts: BTreeMap<String, u64>,
    /// How long calls through the SDK took until their OK.
    pub calls: Percentiles,
    /// How late the clients' own process was, at most, in milliseconds: what had arrived waited as
    /// long.
    pub clients_late_max_ms: u64,
    /// Failures that the SDK did not hide from its clients.
    pub sdk_errors: u64,
    /// What a client that never repeats has seen, where one took part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Raw>,
    /// Sends that were never answered, and cycles with too few that were.
    #[serde(skip)]
    pub idle: u64,
}

impl CycleReport {
    /// No promise was broken, everything was answered, and the faults met work under way.
    pub fn is_clean(&self) -> bool {
        let busy = self
            .in_flight_at_kill
            .iter()
            .filter(|&&count| count > 0)
            .count();
        self.verdicts.values().all(|&count| count == 0)
            && self.idle == 0
            && self.raw.as_ref().is_none_or(Raw::is_clean)
            && busy * 10 >= self.in_flight_at_kill.len() * 8
    }

    /// Adds a cycle; how many verdicts it brought.
    fn judge(&mut self, history: &checker::History) -> u64 {
        let judged = checker::check(history);
        self.cycles += 1;
        let observed = &judged.observed;
        self.acknowledged += observed.acknowledged;
        let too_few = observed.acknowledged < ACKNOWLEDGED_MIN;
        self.idle += observed.unanswered + u64::from(too_few);
        if observed.unanswered > 0 || too_few {
            eprintln!("  cycle {}: {observed:?}", self.cycles);
        }
        let mut found = 0;
        for (name, count) in &judged.verdicts {
            *self.verdicts.entry(name.clone()).or_default() += count;
            found += count;
        }
        for example in judged.examples.values().flatten() {
            eprintln!("  {example}");
        }
        found
    }
}

/// What is struck: a server of one process, or of several.
pub(super) trait Subject {
    /// Where it is.
    fn target(&self) -> &Target;

    /// Starts again what does not run.
    async fn restart(&mut self) -> Result<(), TargetError>;

    /// What it has said since.
    fn log(&self) -> String;
}

impl Subject for HeddleServer {
    fn target(&self) -> &Target {
        self.target()
    }

    async fn restart(&mut self) -> Result<(), TargetError> {
        self.restart().await
    }

    fn log(&self) -> String {
        self.log()
    }
}

impl Subject for Cluster {
    fn target(&self) -> &Target {
        self.target()
    }

    async fn restart(&mut self) -> Result<(), TargetError> {
        self.restart().await
    }

    fn log(&self) -> String {
        self.log()
    }
}

/// What is done to the server at the chosen instant; it is to be startable again afterwards.
pub(super) trait Fault {
    /// What it strikes.
    type Subject: Subject;

    /// Its name, in the progress bar and in file names.
    fn name(&self) -> String;

    /// Strikes; what is dead then is started again.
    async fn strike(
        &mut self,
        subject: &mut Self::Subject,
        chance: &mut StdRng,
    ) -> Result<(), FaultError>;

    /// Adds what it has seen by itself.
    fn report(&self, _: &mut CycleReport) {}

    /// How long calls through the SDK may take: 99.9 of 100, and all.
    fn calls_within(&self) -> Option<(Duration, Duration)> {
        None
    }

    /// Whether the SDK hides all of it from its clients.
    fn is_hidden(&self) -> bool {
        false
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub(super) async fn run<F: Fault>(
    fault: &mut F,
    server: &mut F::Subject,
    options: &CycleOptions,
) -> Result<bool, FaultError> {
    let mut chance = StdRng::seed_from_u64(options.seed);
    let names = Verdict::ALL.map(|verdict| (verdict.name().to_owned(), 0));
    let mut report = CycleReport {
        verdicts: names.into(),
        ..CycleReport::default()
    };
    let name = fault.name();
    let mut calls = Latency::default();
    let lateness = Lateness::watch();
    let progress = Progress::new(&name, u64::from(options.cycles), options.json);
    for cycle in 1..=options.cycles {
        let began = Instant::now();
        let world = load(server.target(), cycle, chance.random()).await?;
        report.in_flight_at_kill.push(world.outstanding());
        fault.strike(server, &mut chance).await?;
        server.restart().await?;
        tokio::time::sleep(AFTER).await;
        report.sdk_errors += world.errors();
        let history = world.settle().await?;
        let late_ms = lateness.take_max().as_millis() as u64;
        report.clients_late_max_ms = late_ms.max(report.clients_late_max_ms);
        let times = history.call_times_us();
        times.for_each(|us| calls.record(Duration::from_micros(us)));
        let found = report.judge(&history);
        if found > 0 {
            keep(options, &name, cycle, &history, &server.log());
        }
        progress.add(1);
        if !options.json {
            let in_flight = report.in_flight_at_kill.last().copied().unwrap_or(0);
            let took = began.elapsed().as_secs_f64();
            eprintln!(
                "cycle {cycle}: {in_flight} in flight, {found} verdicts, {took:.1} s, clients up \
                 to {late_ms} ms late"
            );
        }
    }
    progress.finish();
    fault.report(&mut report);
    report.calls = calls.percentiles();
    let held = held(fault, &report);
    let line = serde_json::to_string(&report).unwrap_or_default();
    println!("{line}");
    Ok(report.is_clean() && held)
}

/// Whether the SDK's clients noticed no more than they may.
fn held<F: Fault>(fault: &F, report: &CycleReport) -> bool {
    let in_time = fault.calls_within().is_none_or(|(most, all)| {
        let within = |us: u64, bound: Duration| Duration::from_micros(us) <= bound;
        within(report.calls.p999_us, most) && within(report.calls.max_us, all)
    });
    if !in_time {
        eprintln!("calls took too long: {:?}", report.calls);
    }
    let hidden = !fault.is_hidden() || report.sdk_errors == 0;
    if !hidden {
        eprintln!("{} errors were not hidden by the SDK", report.sdk_errors);
    }
    in_time && hidden
}

/// People at work, at the instant when the fault is due.
async fn load(target: &Target, cycle: u32, seed: u64) -> Result<World, FaultError> {
    let mut chance = StdRng::seed_from_u64(seed);
    let name = format!("c{cycle}-{:04x}", seed & 0xffff);
    let world = World::begin(target, &name, seed, Size::default()).await?;
    let enough = ACKNOWLEDGED_MIN + chance.random_range(0..ACKNOWLEDGED_MIN);
    let deadline = Instant::now() + LOAD_TIMEOUT;
    while world.acknowledged() < enough && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(Duration::from_micros(chance.random_range(0..DELAY_MAX_US))).await;
    Ok(world)
}

/// A history with a verdict is worth more than the verdict; what the server said since its restart
/// lies beside it.
fn keep(
    options: &CycleOptions,
    fault: &str,
    cycle: u32,
    history: &checker::History,
    server_log: &str,
) {
    let path = options
        .keep
        .join(format!("{fault}-{}-{cycle}.jsonl", options.seed));
    let written = std::fs::create_dir_all(&options.keep)
        .and_then(|()| File::create(&path))
        .map_err(checker::file::FileError::from)
        .and_then(|file| checker::file::save(history, &mut BufWriter::new(file)));
    let written =
        written.and_then(|()| Ok(std::fs::write(path.with_extension("log"), server_log)?));
    match written {
        Ok(()) => eprintln!(
            "  kept as {}; `heddle check` judges it again",
            path.display()
        ),
        Err(error) => eprintln!("  {} could not be written: {error}", path.display()),
    }
}
