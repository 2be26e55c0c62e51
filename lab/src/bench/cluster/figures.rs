//! What a bench of a cluster found: rounds by load, and how they stand against the goals. Pure.
//!
//! Invariant: a figure is the median of its rounds; one that was not measured is none, never a
//! guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::watch::{CASSANDRA, Costs};
use crate::bench::page::median;
use crate::load::LoadReport;
use crate::measure::DiskProbe;

/// Above twice what a commit waits for, a delivery's p99 may take so long, in milliseconds.
const ABOVE_TWO_COMMITS_MS: f64 = 10.0;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// So many users in pairs, of whom each keeps one send unanswered.
    Crowd(u32),
    /// Pairs, of whom each keeps so many sends unanswered.
    Direct(u32),
    /// Pairs that send so many messages a second.
    Paced(u32),
}

/// Batches as small as they get while all cores are busy.
pub const SMALL_BATCHES: Step = Step::Direct(1);
/// As few of a conversation in flight, of so many conversations that more bring no higher rate.
pub const SATURATION: Step = Step::Crowd(CROWD);
/// Users of [`SATURATION`].
pub const CROWD: u32 = 2_000;
/// Ten messages of a conversation in flight: five of each of its two.
pub const TEN_IN_FLIGHT: Step = Step::Direct(5);
/// Where latencies are held to a goal.
pub const PACED: Step = Step::Paced(500);
/// All of them, in their order.
pub const STEPS: [Step; 7] = [
    SMALL_BATCHES,
    SATURATION,
    Step::Direct(4),
    TEN_IN_FLIGHT,
    Step::Direct(10),
    Step::Direct(16),
    PACED,
];

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Crowd(users) => write!(f, "{users} users, 1 each"),
            Step::Direct(in_flight) => write!(f, "direct, {in_flight} each"),
            Step::Paced(rate) => write!(f, "paced, {rate}/s"),
        }
    }
}

impl Step {
    /// What it is called in JSON.
    pub fn key(self) -> String {
        match self {
            Step::Crowd(users) => format!("crowd_{users}"),
            Step::Direct(in_flight) => format!("direct_{in_flight}"),
            Step::Paced(rate) => format!("paced_{rate}"),
        }
    }
}

/// Microseconds as milliseconds.
pub fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// One round of a load.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// What clients saw.
    pub report: LoadReport,
    /// What it cost.
    pub costs: Costs,
    /// The disk meanwhile, where it was looked at.
    pub disk: Option<DiskProbe>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Rounds by load.
    pub rounds: BTreeMap<Step, Vec<Round>>,
    /// The disk before all loads.
    pub disk: Option<DiskProbe>,
    /// How long Cassandra gathers writes before it syncs its commit log, in milliseconds.
    pub window_ms: f64,
    /// CPU of a message at the bare relay, at the rate of that load, in microseconds.
    pub floor_us: BTreeMap<Step, f64>,
    /// What went wrong: load and cause.
    pub failures: Vec<String>,
}

/// What is to be reached, and what was.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// Of what.
    pub what: String,
    /// As much at most.
    pub at_most: f64,
    /// In which unit.
    pub unit: &'static str,
    /// What was measured.
    pub measured: Option<f64>,
}

impl Figures {
    /// The median over a load's rounds; none of none.
    pub fn median(&self, step: Step, of: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        let rounds = self.rounds.get(&step)?;
        median(rounds.iter().filter_map(of).collect())
    }

    /// CPU of a message in microseconds, by who used it.
    pub fn cpu_us(&self, step: Step, who: &str) -> Option<f64> {
        self.median(step, |round| round.costs.cpu_us.get(who).copied())
    }

    /// The same of all services.
    pub fn services_us(&self, step: Step) -> Option<f64> {
        self.median(step, |round| Some(round.costs.services_us()))
    }

    /// How often a statement is sent for a message.
    pub fn statement(&self, step: Step, name: &str) -> Option<f64> {
        self.median(step, |round| round.costs.statements.get(name).copied())
    }

    /// Those that are sent so often for a message, in one of the loads at least, and ever.
    pub fn statements(&self, steps: &[Step], from: f64) -> BTreeSet<String> {
        let rounds = steps.iter().filter_map(|step| self.rounds.get(step));
        let names = rounds
            .flatten()
            .flat_map(|round| round.costs.statements.keys());
        let names: BTreeSet<_> = names.cloned().collect();
        let is_meant = |name: &String| {
            let mut sent = steps.iter().filter_map(|step| self.statement(*step, name));
            sent.any(|sent| sent > 0.0 && sent >= from)
        };
        names.into_iter().filter(is_meant).collect()
    }

    /// By how much a delivery's p99 is above twice what a commit waits for: the window and the p99
    /// of a sync in the same round; in milliseconds.
    pub fn above_two_commits_ms(&self, round: &Round) -> Option<f64> {
        let sync_ms = ms(round.disk?.fdatasync.p99_us);
        let p99_ms = ms(round.report.delivered_latency.p99_us);
        Some(p99_ms - 2.0 * (self.window_ms + sync_ms))
    }

    /// How it stands against the goals.
    pub fn goals(&self) -> Vec<Goal> {
        let goal = |what: String, at_most: f64, unit, measured| Goal {
            what,
            at_most,
            unit,
            measured,
        };
        let (small, many, ten) = (SMALL_BATCHES, SATURATION, TEN_IN_FLIGHT);
        let mut goals = Vec::new();
        for step in [small, many] {
            goals.push(goal(
                format!("{step}: rows written a message, marks included"),
                4.0,
                "",
                self.median(step, |round| round.costs.rows_written()),
            ));
            goals.push(goal(
                format!("{step}: reads a message"),
                2.0,
                "",
                self.median(step, |round| round.costs.reads()),
            ));
        }
        for (step, share, note) in [
            (small, 1.0, ""),
            (many, 1.0, ""),
            (ten, 0.5, " (10 of a conversation in flight)"),
        ] {
            goals.push(goal(
                format!("{step}{note}: Cassandra's CPU a message"),
                600.0 * share,
                " us",
                self.cpu_us(step, CASSANDRA),
            ));
            goals.push(goal(
                format!("{step}{note}: CPU of all services a message"),
                60.0 * share,
                " us",
                self.services_us(step),
            ));
        }
        goals.push(goal(
            format!("{PACED}: p99 of delivery, above twice (window + p99 of a sync)"),
            ABOVE_TWO_COMMITS_MS,
            " ms",
            self.median(PACED, |round| self.above_two_commits_ms(round)),
        ));
        goals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Percentiles;

    fn paced(delivered_ms: u64, sync_ms: u64) -> Round {
        let percentiles = |ms: u64| Percentiles {
            p99_us: ms * 1000,
            ..Percentiles::default()
        };
        Round {
            report: LoadReport {
                delivered_latency: percentiles(delivered_ms),
                ..LoadReport::default()
            },
            disk: Some(DiskProbe {
                fdatasync: percentiles(sync_ms),
                append_bytes: 4096,
            }),
            ..Round::default()
        }
    }

    #[test]
    fn a_delivery_is_held_to_the_syncs_of_its_own_round() {
        let rounds = vec![paced(30, 1), paced(60, 20), paced(80, 1)];
        let mut figures = Figures {
            window_ms: 10.0,
            ..Figures::default()
        };
        figures.rounds.insert(PACED, rounds);
        let goals = figures.goals();
        let last = goals.last().unwrap();
        assert_eq!((last.at_most, last.measured), (10.0, Some(8.0)));
        assert!(goals[..10].iter().all(|goal| goal.measured.is_none()));
    }

    #[test]
    fn with_ten_in_flight_it_is_to_be_half() {
        let goals = Figures::default().goals();
        let at_most: Vec<_> = goals.iter().map(|goal| goal.at_most).collect();
        let one = [4.0, 2.0, 4.0, 2.0, 600.0, 60.0, 600.0, 60.0];
        assert_eq!(at_most[..8], one);
        assert_eq!(at_most[8..], [300.0, 30.0, 10.0]);
    }
}
