//! Rate: how many pushes a second one provider is given; a token bucket. Pure.
//!
//! `queue` asks before it lets a push out. Invariant: within any second at most the rate, a tenth
//! of it and one more.

use std::time::Duration;

use tokio::time::Instant;

/// What may be caught up on at once: timers are no finer than a millisecond.
const BURST: Duration = Duration::from_millis(100);

/// A bucket that fills at a rate. Kept as the time at which it would be full again.
#[derive(Debug)]
pub struct Rate {
    /// Between two pushes; `None`: no limit.
    interval: Option<Duration>,
    full_at: Option<Instant>,
}

impl Rate {
    /// So many pushes a second; 0: no limit.
    pub fn new(per_second_max: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second_max);
        Self {
            interval,
            full_at: None,
        }
    }

    /// From when on the next push may leave; `None`: now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        let next = self.full_at?.checked_sub(BURST)?;
        (next > now).then_some(next)
    }

    /// A push leaves.
    pub fn spend(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// When pushes leave that all want to leave at once.
    fn leaves(rate: &mut Rate, count: usize, mut now: Instant) -> Vec<Instant> {
        let mut times = Vec::new();
        for _ in 0..count {
            now = rate.wait_until(now).unwrap_or(now);
            rate.spend(now);
            times.push(now);
        }
        times
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let (mut rate, now) = (Rate::new(0), Instant::now());
        assert!(leaves(&mut rate, 1_000, now).iter().all(|at| *at == now));
    }

    #[test]
    fn what_is_above_the_rate_waits() {
        let (mut rate, start) = (Rate::new(10), Instant::now());
        let last = leaves(&mut rate, 31, start).pop().unwrap();
        let took = (last - start).as_secs_f64();
        assert!((2.8..=3.0).contains(&took), "{took}");
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_the_rate(
            per_second in 1..2_000u32, pauses_ms in prop::collection::vec(0..700u64, 1..40),
        ) {
            let (mut rate, mut now) = (Rate::new(per_second), Instant::now());
            let mut times = Vec::new();
            for pause_ms in pauses_ms {
                times.extend(leaves(&mut rate, 100, now));
                now = times[times.len() - 1] + Duration::from_millis(pause_ms);
            }
            let bound = per_second + per_second / 10 + 1;
            for (nth, from) in times.iter().enumerate() {
                let end = *from + Duration::from_secs(1);
                let within = times[nth..].partition_point(|at| *at < end);
                // One more for the rounding of the interval.
                prop_assert!(within <= bound as usize + 1, "{within} of {per_second}");
            }
        }
    }
}
