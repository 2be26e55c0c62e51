//! What it costs others when many stop reading: pairs that chat beside groups whose members have
//! all stopped, against the same groups being read.
//!
//! Both are measured in turns on one server, so that what the machine does meanwhile meets both
//! alike. Memory counts from before the first message that nobody reads to after the last one.
//!
//! Invariant: a round that lost anything, or whose members do not get all once they read again, is
//! told as such.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::crowd::{Crowd, Size};
use super::{BenchError, drive};
use crate::load::{LoadReport, Plan};
use crate::measure::ProcessStat;
use crate::target::Target;
use crate::target::transport::HeddleTransport;

/// How long members may take to catch up once they read again.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// How to measure.
#[derive(Clone, Debug)]
pub struct StalledPlan {
    /// The groups.
    pub crowd: Size,
    /// The pairs beside them, and how long.
    pub pairs: Plan,
    /// Times that both are measured; the median counts.
    pub rounds: u32,
    /// The server's process.
    pub pid: Option<u32>,
}

/// What stalled readers cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StalledReport {
    /// Groups.
    pub groups: u32,
    /// Members of each.
    pub members: u32,
    /// Of each measurement, in seconds.
    pub seconds: f64,
    /// Delivered p99 of the pairs while the groups are read, in milliseconds, by round.
    pub read_p99_ms: Vec<f64>,
    /// The same while nobody reads them.
    pub stalled_p99_ms: Vec<f64>,
    /// The median over the rounds of the second by the first.
    pub p99_ratio: f64,
    /// The most that the server's memory grew in a round in which nobody read, in MiB.
    pub rss_growth_mib: Option<f64>,
    /// The longest that the members took to have all once they read again, in milliseconds.
    pub catch_up_ms: f64,
    /// Deliveries that were due and never came, to members and pairs.
    pub missing_deliveries: u64,
    /// Sends of the pairs that were refused or not answered.
    pub unanswered: u64,
}

impl StalledReport {
    /// Nothing was lost or refused.
    pub fn is_complete(&self) -> bool {
        self.missing_deliveries == 0 && self.unanswered == 0
    }

    fn add(&mut self, pairs: &LoadReport, missing: u64) -> f64 {
        self.missing_deliveries += missing + pairs.missing_deliveries;
        self.unanswered += pairs.refused + pairs.unanswered;
        pairs.delivered_latency.p99_us as f64 / 1000.0
    }
}

/// Measures.
pub async fn run(target: &Target, plan: &StalledPlan) -> Result<StalledReport, BenchError> {
    let transport = HeddleTransport::prepare(target, &plan.pairs).await?;
    let mut crowd = Crowd::gather(target, plan.crowd).await?;
    let mut report = StalledReport {
        groups: plan.crowd.groups,
        members: plan.crowd.members,
        seconds: plan.pairs.duration.as_secs_f64(),
        ..StalledReport::default()
    };
    for _ in 0..plan.rounds.max(1) {
        let pairs = beside(&transport, &mut crowd, plan).await?;
        let missing = crowd.missing(CATCH_UP_MAX).await?;
        let read_p99_ms = report.add(&pairs, missing);
        report.read_p99_ms.push(read_p99_ms);

        crowd.read(false);
        let before = memory(plan.pid)?;
        let pairs = beside(&transport, &mut crowd, plan).await?;
        let after = memory(plan.pid)?;
        let reading = Instant::now();
        crowd.read(true);
        let missing = crowd.missing(CATCH_UP_MAX).await?;
        report.catch_up_ms = report
            .catch_up_ms
            .max(reading.elapsed().as_secs_f64() * 1000.0);
        let stalled_p99_ms = report.add(&pairs, missing);
        report.stalled_p99_ms.push(stalled_p99_ms);
        let grown = before.zip(after).map(|(before, after)| after - before);
        report.rss_growth_mib = report
            .rss_growth_mib
            .into_iter()
            .chain(grown)
            .max_by(f64::total_cmp);
    }
    report.p99_ratio = ratio(&report.read_p99_ms, &report.stalled_p99_ms);
    Ok(report)
}

/// Drives the pairs while the groups are spoken to.
async fn beside(
    transport: &HeddleTransport,
    crowd: &mut Crowd,
    plan: &StalledPlan,
) -> Result<LoadReport, BenchError> {
    let stop = CancellationToken::new();
    let pairs = async {
        let driven = drive(transport, &plan.pairs).await;
        stop.cancel();
        driven
    };
    let (pairs, _stored) = tokio::try_join!(pairs, crowd.speak(&stop))?;
    Ok(pairs)
}

/// The median of the quotients of a round each.
fn ratio(read_ms: &[f64], stalled_ms: &[f64]) -> f64 {
    let rounds = read_ms.iter().zip(stalled_ms);
    let mut ratios: Vec<f64> = rounds
        .map(|(read, stalled)| stalled / read.max(0.001))
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Resident memory, in MiB.
fn memory(pid: Option<u32>) -> Result<Option<f64>, BenchError> {
    let stat = pid.map(ProcessStat::of).transpose()?;
    Ok(stat.map(|stat| stat.rss_bytes as f64 / (1 << 20) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_rounds_and_not_of_all_figures() {
        let ratio = ratio(&[1.0, 10.0, 2.0], &[3.0, 10.0, 1.0]);
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
        assert!(super::ratio(&[], &[]).is_nan());
    }
}
