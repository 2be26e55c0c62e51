//! What came of a replay.

use std::time::Duration;

use serde::Serialize;

use super::ReplayOptions;
use super::direct::Director;
use super::kills::Kill;
use super::ledger::Problems;
use crate::irc::{Script, What};
use crate::measure::Percentiles;

/// Kills that there must be, when there are any.
const KILLS_MIN: usize = 5;

/// Sends that must be in flight at the median answer, and over how many speakers.
const IN_FLIGHT_MIN: (u64, u64) = (64, 32);
/// A day with fewer messages or people can't keep so many in flight.
const BUSY_DAY: (usize, usize) = (1_000, 100);

/// What came of a replay.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayReport {
    /// Nothing is wrong.
    pub agrees: bool,
    /// The seed.
    pub seed: u64,
    /// People in the file.
    pub users: usize,
    /// Devices of each.
    pub devices: u32,
    /// Sessions that were open.
    pub sessions: usize,
    /// Lines of the file that are messages.
    pub messages: usize,
    /// What was said besides in the room of the busiest and between the two.
    pub messages_beside: usize,
    /// Joins.
    pub joins: usize,
    /// Leaves.
    pub leaves: usize,
    /// Lines that became nothing: odd ones, repeated joins, renames.
    pub skipped: u32,
    /// Events that all devices received.
    pub deliveries: u64,
    /// From the first line until every device had everything, in seconds.
    pub seconds: f64,
    /// Deliveries in that time.
    pub deliveries_per_second: f64,
    /// Sends in flight, at the median answer.
    pub in_flight_median: u64,
    /// And at most.
    pub in_flight_max: u64,
    /// Speakers that had something in flight, at the median answer.
    pub speakers_median: u64,
    /// And at most.
    pub speakers_max: u64,
    /// Sessions that came back after being offline, while their users stayed members.
    pub resumes: u64,
    /// Users that these were.
    pub resumed_users: usize,
    /// Sends in flight at each SIGKILL.
    pub in_flight_at_kills: Vec<u64>,
    /// What was killed each time.
    pub killed: Vec<String>,
    /// From a line's turn to its answer.
    pub send_latency: Percentiles,
    /// From a line's turn to a device that was online, sampled.
    pub delivery_latency: Percentiles,
    /// What is wrong.
    pub problems: Problems,
}

impl ReplayReport {
    pub(super) fn new(
        options: &ReplayOptions,
        script: &Script,
        director: &Director,
        kills: Vec<Kill>,
        elapsed: Duration,
    ) -> ReplayReport {
        let count =
            |is: fn(&What) -> bool| script.steps.iter().filter(|step| is(&step.what)).count();
        let ledger = &director.ledger;
        let samples = ledger.samples();
        let of = |pick: fn(&(u64, u64)) -> u64| {
            let mut all: Vec<u64> = samples.iter().map(pick).collect();
            all.sort_unstable();
            let median = all.get(all.len() / 2).copied().unwrap_or(0);
            (median, all.last().copied().unwrap_or(0))
        };
        let ((in_flight_median, in_flight_max), (speakers_median, speakers_max)) =
            (of(|sample| sample.0), of(|sample| sample.1));
        let deliveries = ledger.deliveries.load(std::sync::atomic::Ordering::Relaxed);
        let (resumes, resumed_users) = director.resumes();
        let [send_latency, delivery_latency] = ledger.latencies();
        let mut problems = ledger.problems();
        let in_flight_at_kills = kills.iter().map(|kill| kill.in_flight).collect();
        let killed: Vec<_> = kills.into_iter().map(|kill| kill.process).collect();
        if options.kill_every.is_some() && killed.len() < KILLS_MIN {
            problems.add("kills", || {
                format!("only {}; lower --kill-every", killed.len())
            });
        }
        check_pressure(script, in_flight_median, speakers_median, &mut problems);
        let skipped = script.skipped;
        ReplayReport {
            agrees: problems.is_empty(),
            seed: options.seed,
            users: script.users.len(),
            devices: options.devices,
            sessions: director.cast.seats.len(),
            messages: script.message_count(),
            messages_beside: director.beside.iter().map(Vec::len).sum(),
            joins: count(|what| matches!(what, What::Join { .. })),
            leaves: count(|what| matches!(what, What::Leave)),
            skipped: skipped.odd + skipped.no_change + skipped.renames,
            deliveries,
            seconds: elapsed.as_secs_f64(),
            deliveries_per_second: deliveries as f64 / elapsed.as_secs_f64().max(0.001),
            in_flight_median,
            in_flight_max,
            speakers_median,
            speakers_max,
            resumes,
            resumed_users,
            in_flight_at_kills,
            killed,
            send_latency,
            delivery_latency,
            problems,
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let ms = |us: u64| us as f64 / 1000.0;
        let latency = |of: &Percentiles| {
            let (p50, p99, max) = (ms(of.p50_us), ms(of.p99_us), ms(of.max_us));
            format!("p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")
        };
        let mut text = format!(
            "{} messages, {} beside, {} joins, {} leaves by {} users on {} sessions\n\
             {} deliveries in {:.1} s: {:.0} a second\n\
             in flight: median {} over {} speakers, at most {} over {}\n\
             resumes: {} of {} users\n\
             sent: {}\ndelivered: {}\n",
            self.messages,
            self.messages_beside,
            self.joins,
            self.leaves,
            self.users,
            self.sessions,
            self.deliveries,
            self.seconds,
            self.deliveries_per_second,
            self.in_flight_median,
            self.speakers_median,
            self.in_flight_max,
            self.speakers_max,
            self.resumes,
            self.resumed_users,
            latency(&self.send_latency),
            latency(&self.delivery_latency),
        );
        if !self.in_flight_at_kills.is_empty() {
            let kills = self.in_flight_at_kills.len();
            text += &format!(
                "{kills} kills, sends in flight: {:?}\n",
                self.in_flight_at_kills
            );
        }
        for (kind, count) in &self.problems.counts {
            text += &format!("WRONG: {count} {kind}\n");
        }
        for example in &self.problems.examples {
            text += &format!("  {example}\n");
        }
        text + if self.agrees {
            "all agrees\n"
        } else {
            "something is wrong\n"
        }
    }
}

/// A replay that hardly had anything in flight has shown little.
fn check_pressure(script: &Script, in_flight: u64, speakers: u64, problems: &mut Problems) {
    let is_busy = script.message_count() >= BUSY_DAY.0 && script.users.len() >= BUSY_DAY.1;
    let (sends_min, speakers_min) = IN_FLIGHT_MIN;
    if is_busy && (in_flight < sends_min || speakers < speakers_min) {
        problems.add("in_flight", || {
            format!(
                "only {in_flight} over {speakers} speakers at the median answer, not {sends_min} \
                 over {speakers_min}"
            )
        });
    }
}
