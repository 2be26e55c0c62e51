//! Backoff: how long to wait between two tries of a push. Pure; randomness is an argument.
//!
//! Invariant: a pause is never shorter than the provider asked for, up to [`RETRY_AFTER_MAX`].

use std::time::Duration;

/// The longest pause that a provider may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Exponential, with the upper half of each pause at random.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The pause after the `tries`th try (from 1). `random` is in `[0, 1)`.
    pub fn pause(&self, tries: u32, asked: Option<Duration>, random: f64) -> Duration {
        let doubled = 2u32.saturating_pow(tries.saturating_sub(1));
        let whole = self.base.saturating_mul(doubled).min(self.max);
        let own = whole.mul_f64(0.5 + random / 2.0);
        own.max(asked.unwrap_or_default().min(RETRY_AFTER_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        max: Duration::from_secs(300),
    };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [1, 2, 3, 10, 1_000].map(|tries| BACKOFF.pause(tries, None, 0.999_999_999));
        assert_eq!(
            pauses.map(|pause| pause.as_secs_f64().round()),
            [1.0, 2.0, 4.0, 300.0, 300.0]
        );
    }

    proptest! {
        #[test]
        fn a_pause_is_at_least_half_its_length_and_what_was_asked_for(
            tries in 1..100u32, asked_ms in 0..10_000_000u64, random in 0.0..1.0f64,
        ) {
            let asked = Duration::from_millis(asked_ms);
            let (own, both) = (
                BACKOFF.pause(tries, None, random),
                BACKOFF.pause(tries, Some(asked), random),
            );
            prop_assert!(own >= BACKOFF.base / 2 && own <= BACKOFF.max);
            prop_assert_eq!(both, own.max(asked.min(RETRY_AFTER_MAX)));
        }
    }
}
