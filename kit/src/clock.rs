//! Clock: the time of day as an argument.
//!
//! Pure code takes a number of milliseconds; shells get it here. Tests move a [`ManualClock`].
//!
//! Invariant: `now_ms` never goes back, whatever the operating system's clock does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of the time of day.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch, never less than any answer given before.
    fn now_ms(&self) -> u64;
}

/// A clock that services share.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock, held still while it is set back.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest_ms: AtomicU64,
}

impl SystemClock {
    /// The system's clock, ready to be shared.
    pub fn shared() -> SharedClock {
        Arc::new(Self::default())
    }

    fn held(&self, system_ms: u64) -> u64 {
        self.latest_ms
            .fetch_max(system_ms, Ordering::AcqRel)
            .max(system_ms)
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.held(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now_ms`.
    pub fn at(now_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            now_ms: AtomicU64::new(now_ms),
        })
    }

    /// Moves on by `by_ms` and says the new time.
    pub fn advance(&self, by_ms: u64) -> u64 {
        self.now_ms.fetch_add(by_ms, Ordering::AcqRel) + by_ms
    }

    /// Moves to `to_ms`; a time in the past is ignored.
    pub fn set(&self, to_ms: u64) {
        self.now_ms.fetch_max(to_ms, Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the system's clock jumps, the answers never go back and never lag behind it.
        #[test]
        fn time_never_goes_back(system in prop::collection::vec(any::<u64>(), 1..50)) {
            let clock = SystemClock::default();
            let mut before = 0;
            for now in system {
                let told = clock.held(now);
                prop_assert!(told >= before && told >= now);
                before = told;
            }
        }
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::at(10);
        assert_eq!(clock.advance(5), 15);
        clock.set(7);
        assert_eq!(clock.now_ms(), 15);
    }

    #[test]
    fn the_system_clock_is_after_2026_began() {
        assert!(SystemClock::default().now_ms() > 1_767_000_000_000);
    }
}
