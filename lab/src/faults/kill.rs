//! SIGKILL at random instants under the mixed workload; after each one all is settled and checked.
//!
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
use crate::progress::Progress;
use crate::target::{HeddleServer, ServerOptions, TargetError};
use crate::workload::{Size, World};

/// Acknowledged sends before a kill, at least; up to twice as many.
const ACKNOWLEDGED_MIN: u64 = 500;
/// How long after that the kill comes, at most.
const DELAY_MAX_US: u64 = 30_000;
/// How long people go on after the restart.
const AFTER: Duration = Duration::from_millis(300);
/// A cycle whose load does not get anywhere for so long has failed.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether enough was acknowledged.
const POLL: Duration = Duration::from_millis(1);

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// One process with all services
    One,
}

/// How often, and what.
#[derive(Clone, Debug, Args)]
pub struct KillOptions {
    /// What is killed
    #[arg(long, value_enum, default_value = "one")]
    pub shape: Shape,
    /// Kills
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
pub struct KillReport {
    /// Kills survived.
    pub cycles: u32,
    /// Sends acknowledged in all.
    pub acknowledged: u64,
    /// Asked and not answered at each kill.
    pub in_flight_at_kill: Vec<u64>,
    /// How often each promise was broken.
    pub verdicts: BTreeMap<String, u64>,
    /// Sends that were never answered, and cycles with too few that were.
    #[serde(skip)]
    pub idle: u64,
}

impl KillReport {
    /// No promise was broken, everything was answered, and the kills met work under way.
    pub fn is_clean(&self) -> bool {
        let busy = self
            .in_flight_at_kill
            .iter()
            .filter(|&&count| count > 0)
            .count();
        self.verdicts.values().all(|&count| count == 0)
            && self.idle == 0
            && busy * 10 >= self.in_flight_at_kill.len() * 8
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(options: &KillOptions) -> Result<bool, TargetError> {
    let mut chance = StdRng::seed_from_u64(options.seed);
    let mut server = HeddleServer::start(options.program.clone(), ServerOptions::default()).await?;
    let names = Verdict::ALL.map(|verdict| (verdict.name().to_owned(), 0));
    let mut report = KillReport {
        verdicts: names.into(),
        ..KillReport::default()
    };
    let progress = Progress::new("kills", u64::from(options.cycles), options.json);
    for cycle in 1..=options.cycles {
        let began = Instant::now();
        let found = one(&mut server, cycle, chance.random(), &mut report, options).await?;
        progress.add(1);
        if !options.json {
            let in_flight = report.in_flight_at_kill.last().copied().unwrap_or(0);
            let took = began.elapsed().as_secs_f64();
            eprintln!("cycle {cycle}: {in_flight} in flight, {found} verdicts, {took:.1} s");
        }
    }
    progress.finish();
    let line = serde_json::to_string(&report).unwrap_or_default();
    println!("{line}");
    Ok(report.is_clean())
}

/// One cycle; how many verdicts it brought.
async fn one(
    server: &mut HeddleServer,
    cycle: u32,
    seed: u64,
    report: &mut KillReport,
    options: &KillOptions,
) -> Result<u64, TargetError> {
    let mut chance = StdRng::seed_from_u64(seed);
    let name = format!("c{cycle}-{:04x}", seed & 0xffff);
    let world = World::begin(server.target(), &name, seed, Size::default()).await?;
    let enough = ACKNOWLEDGED_MIN + chance.random_range(0..ACKNOWLEDGED_MIN);
    let deadline = Instant::now() + LOAD_TIMEOUT;
    while world.acknowledged() < enough && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(Duration::from_micros(chance.random_range(0..DELAY_MAX_US))).await;
    report.in_flight_at_kill.push(world.outstanding());
    server.kill();
    server.restart().await?;
    tokio::time::sleep(AFTER).await;
    let history = world.settle().await?;
    let judged = checker::check(&history);
    report.cycles += 1;
    let observed = &judged.observed;
    report.acknowledged += observed.acknowledged;
    let too_few = observed.acknowledged < ACKNOWLEDGED_MIN;
    report.idle += observed.unanswered + u64::from(too_few);
    if observed.unanswered > 0 || too_few {
        eprintln!("  cycle {cycle}: {observed:?}");
    }
    let mut found = 0;
    for (name, count) in &judged.verdicts {
        *report.verdicts.entry(name.clone()).or_default() += count;
        found += count;
    }
    if found > 0 {
        judged
            .examples
            .values()
            .flatten()
            .for_each(|example| eprintln!("  {example}"));
        keep(options, cycle, &history);
    }
    Ok(found)
}

/// A history with a verdict is worth more than the verdict.
fn keep(options: &KillOptions, cycle: u32, history: &checker::History) {
    let path = options
        .keep
        .join(format!("kill-{}-{cycle}.jsonl", options.seed));
    let written = std::fs::create_dir_all(&options.keep)
        .and_then(|()| File::create(&path))
        .map_err(checker::file::FileError::from)
        .and_then(|file| checker::file::save(history, &mut BufWriter::new(file)));
    match written {
        Ok(()) => eprintln!(
            "  kept as {}; `heddle check` judges it again",
            path.display()
        ),
        Err(error) => eprintln!("  {} could not be written: {error}", path.display()),
    }
}
