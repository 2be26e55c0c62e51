//! Latencies as HDR histograms, honest about coordinated omission.
//!
//! Invariant: an open loop records from the instant at which a request was due, not at which it
//! could be made; a closed loop that is to be compared with one records with its interval.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Three significant digits: p99s are compared to a few percent.
const DIGITS: u8 = 3;

/// A collection of latencies in microseconds; grows with its greatest value, not with its count.
#[derive(Clone, Debug)]
pub struct Latency {
    // None only if the library refused three digits, which it documents as valid.
    histogram: Option<Histogram<u64>>,
}

/// What is reported of a [`Latency`], in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many latencies there are, those filled in by correction included.
    pub count: u64,
    /// Half were this or less.
    pub p50_us: u64,
    /// 90 in a hundred were this or less.
    pub p90_us: u64,
    /// 99 in a hundred were this or less.
    pub p99_us: u64,
    /// 999 in a thousand were this or less.
    pub p999_us: u64,
    /// The greatest.
    pub max_us: u64,
    /// The average.
    pub mean_us: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Latency {
            histogram: Histogram::new(DIGITS).ok(),
        }
    }
}

impl Latency {
    /// Adds a latency that was measured from the instant at which the request was due.
    pub fn record(&mut self, latency: Duration) {
        if let Some(histogram) = &mut self.histogram {
            // Resizes by itself: no value is out of its range.
            let _ = histogram.record(whole_us(latency));
        }
    }

    /// Adds a latency of a loop that should have made a request each `interval` and waited for
    /// this one instead: the requests that it left out are filled in (coordinated omission).
    pub fn record_corrected(&mut self, latency: Duration, interval: Duration) {
        if let Some(histogram) = &mut self.histogram {
            let _ = histogram.record_correct(whole_us(latency), whole_us(interval));
        }
    }

    /// Adds all of another's latencies.
    pub fn merge(&mut self, other: &Latency) {
        if let (Some(mine), Some(others)) = (&mut self.histogram, &other.histogram) {
            let _ = mine.add(others);
        }
    }

    /// What is reported; all 0 when there are none.
    pub fn percentiles(&self) -> Percentiles {
        let Some(histogram) = self.histogram.as_ref().filter(|all| !all.is_empty()) else {
            return Percentiles::default();
        };
        Percentiles {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
            mean_us: histogram.mean(),
        }
    }
}

/// At least one: a histogram has no place for zero that `mean` would respect.
fn whole_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut latency = Latency::default();
        (1..=1000).for_each(|ms| latency.record(MS * ms));
        let found = latency.percentiles();
        assert_eq!(found.count, 1000);
        for (found, expected) in [(found.p50_us, 500_000), (found.p99_us, 990_000)] {
            assert!(
                found.abs_diff(expected) <= expected / 500,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn correction_fills_in_what_a_stall_left_out() {
        let (mut naive, mut corrected) = (Latency::default(), Latency::default());
        for latency in (0..99).map(|_| MS).chain([MS * 100]) {
            naive.record(latency);
            corrected.record_corrected(latency, MS);
        }
        assert!(naive.percentiles().p90_us < 1_100);
        let corrected = corrected.percentiles();
        assert_eq!(corrected.count, 99 + 100);
        assert!(corrected.p90_us > 75_000, "{corrected:?}");
    }

    #[test]
    fn merging_adds_up_and_nothing_is_all_zero() {
        let (mut one, mut two) = (Latency::default(), Latency::default());
        assert_eq!(one.percentiles(), Percentiles::default());
        one.record(MS);
        two.record(Duration::from_secs(3600));
        one.merge(&two);
        assert_eq!(one.percentiles().count, 2);
        assert!(one.percentiles().max_us >= 3_600_000_000);
    }
}
