//! What a cluster spends: CPU by who uses it, statements by kind.
//!
//! A [`ClusterWatch`] looks at all of its processes when the measured time of a load begins and
//! when it ends; [`Costs`] is the difference, for each message.
//!
//! Invariant: both looks read the CPU first and the metrics after it, so that what looking costs is
//! within the measured time once and what it delays is the same at both ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Serialize;

use crate::load::{LoadError, Watch};
use crate::measure::{Counters, ProcessStat, scrape};

/// The node of Cassandra, in [`Costs::cpu_us`].
pub const CASSANDRA: &str = "cassandra";
/// Redis.
pub const REDIS: &str = "redis";
/// The load driver, on the same machine.
pub const CLIENTS: &str = "clients";
/// The services.
pub const SERVICES: [&str; 5] = [
    "gateway",
    "chat-svc",
    "history-svc",
    "presence-svc",
    "notify-svc",
];

/// As `docs/telemetry.md` names it.
const STATEMENTS: &str = "heddle_history_statements_total";
const BATCH_EVENTS: &str = "heddle_shard_batch_events";
const COMMIT_DURATION: &str = "heddle_shard_commit_duration_seconds";

/// Looks at all processes.
#[derive(Debug)]
pub struct ClusterWatch {
    /// Who, and which process.
    pub processes: Vec<(&'static str, u32)>,
    /// Where metrics are read.
    pub metrics: Vec<SocketAddr>,
}

/// What is seen.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    cpu: BTreeMap<&'static str, Duration>,
    counters: Counters,
}

impl Watch for ClusterWatch {
    type Sight = Sight;

    async fn look(&self) -> Result<Sight, LoadError> {
        let mut seen = Sight::default();
        for (who, pid) in &self.processes {
            *seen.cpu.entry(*who).or_default() += ProcessStat::of(*pid)?.cpu;
        }
        let scraped = self.metrics.iter().map(|address| scrape(*address));
        for counters in try_join_all(scraped).await? {
            seen.counters.add(&counters);
        }
        Ok(seen)
    }
}

/// What a message cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// CPU in microseconds, by who used it.
    pub cpu_us: BTreeMap<&'static str, f64>,
    /// Statements to Cassandra, by kind and table.
    pub statements: BTreeMap<String, f64>,
    /// Events in a commit of a shard, conversations' and mailboxes' alike.
    pub events_per_commit: Option<f64>,
    /// Events in a row of a log.
    pub events_per_row: Option<f64>,
    /// How long a commit takes, on average, in milliseconds.
    pub commit_ms: Option<f64>,
}

impl Costs {
    /// Of so many messages between two looks; none are no costs.
    pub fn between(before: &Sight, after: &Sight, messages: u64) -> Option<Costs> {
        let messages = (messages > 0).then_some(messages as f64)?;
        let used = after.cpu.iter().map(|(who, cpu)| {
            let earlier = before.cpu.get(who).copied().unwrap_or_default();
            let used = cpu.saturating_sub(earlier);
            (*who, used.as_secs_f64() * 1e6 / messages)
        });
        let counted = after.counters.since(&before.counters);
        let statements = counted.by(STATEMENTS, ["kind", "table"]);
        let sent = statements.into_iter();
        let sent = sent.map(|(kind, count)| (kind.join(" "), count));
        let sent: BTreeMap<String, f64> = sent.collect();
        let rows: f64 = sent
            .iter()
            .filter(|(name, _)| name.starts_with("row_write"))
            .map(|(_, count)| count)
            .sum();
        let of = |name: &str, what: &str| counted.sum(&format!("{name}_{what}"));
        let events = of(BATCH_EVENTS, "sum");
        let took_s = of(COMMIT_DURATION, "sum");
        Some(Costs {
            cpu_us: used.collect(),
            events_per_commit: ratio(events, of(BATCH_EVENTS, "count")),
            events_per_row: ratio(events, Some(rows)),
            commit_ms: ratio(took_s, of(COMMIT_DURATION, "count")).map(|s| s * 1000.0),
            statements: sent
                .into_iter()
                .map(|(name, count)| (name, count / messages))
                .collect(),
        })
    }

    /// CPU of all services.
    pub fn services_us(&self) -> f64 {
        let all = SERVICES
            .iter()
            .filter_map(|service| self.cpu_us.get(service));
        all.sum()
    }

    /// Rows written: each statement that does not read writes one. None: nobody counts statements.
    pub fn rows_written(&self) -> Option<f64> {
        self.statements_that(|kind| !kind.ends_with("_read"))
    }

    /// Statements that read.
    pub fn reads(&self) -> Option<f64> {
        self.statements_that(|kind| kind.ends_with("_read"))
    }

    fn statements_that(&self, is_meant: impl Fn(&str) -> bool) -> Option<f64> {
        let meant = self.statements.iter().filter(|(name, _)| {
            let kind = name.split(' ').next().unwrap_or_default();
            is_meant(kind)
        });
        (!self.statements.is_empty()).then(|| meant.map(|(_, count)| count).sum())
    }
}

fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    let to = to.filter(|to| *to > 0.0)?;
    Some(of? / to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(gateway_ms: u64, metrics: &str) -> Sight {
        let cpu = [
            ("gateway", Duration::from_millis(gateway_ms)),
            (CASSANDRA, Duration::from_millis(10 * gateway_ms)),
        ];
        Sight {
            cpu: cpu.into(),
            counters: Counters::parse(metrics),
        }
    }

    #[test]
    fn costs_are_differences_for_each_message() {
        let before = "heddle_history_statements_total{kind=\"row_write\",table=\"log\"} 100\n";
        let after = "heddle_history_statements_total{kind=\"row_write\",table=\"log\"} 400\n\
            heddle_history_statements_total{kind=\"cell_write\",table=\"members\"} 50\n\
            heddle_history_statements_total{kind=\"epoch_read\",table=\"shards\"} 25\n\
            heddle_shard_batch_events_sum 600\nheddle_shard_batch_events_count 200\n\
            heddle_shard_commit_duration_seconds_sum 4\n\
            heddle_shard_commit_duration_seconds_count 200\n";
        let (before, after) = (sight(10, before), sight(15, after));
        let costs = Costs::between(&before, &after, 100).unwrap();
        assert_eq!(
            costs.cpu_us,
            BTreeMap::from([("gateway", 50.0), (CASSANDRA, 500.0)])
        );
        assert_eq!(costs.services_us(), 50.0);
        assert_eq!(
            (costs.rows_written(), costs.reads()),
            (Some(3.5), Some(0.25))
        );
        assert_eq!(costs.statements["cell_write members"], 0.5);
        assert_eq!(
            (costs.events_per_commit, costs.events_per_row),
            (Some(3.0), Some(2.0))
        );
        assert_eq!(costs.commit_ms, Some(20.0));
    }

    #[test]
    fn what_nobody_counts_is_not_zero() {
        let costs = Costs::between(&Sight::default(), &sight(1, ""), 1).unwrap();
        assert_eq!((costs.rows_written(), costs.events_per_row), (None, None));
        assert_eq!(
            Costs::between(&Sight::default(), &Sight::default(), 0),
            None
        );
    }
}
