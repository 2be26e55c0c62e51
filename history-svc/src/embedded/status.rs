//! What the writer thread tells everybody else about the store.
//!
//! Invariant: read-only is for good; only opening the store again ends it. The note of an erasure
//! is taken away only if no erasure was begun or ended since the caller looked.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Shared by the writer, the compaction and the service's health.
#[derive(Debug, Default)]
pub struct Status {
    read_only: OnceLock<String>,
    erasures: Mutex<Erasures>,
}

/// Bodies that were erased but may still lie in old files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erasures {
    /// When the oldest was erased; milliseconds since the Unix epoch, 0: there are none.
    pub since_ms: u64,
    /// Counts begun and ended writes of erasures.
    pub count: u64,
}

impl Status {
    /// Why nothing is written any more, if so.
    pub fn read_only(&self) -> Option<String> {
        self.read_only.get().cloned()
    }

    /// From now on nothing is written.
    pub fn set_read_only(&self, reason: &str) {
        let _first_reason_stays = self.read_only.set(reason.to_owned());
    }

    /// What was erased.
    pub fn erasures(&self) -> Erasures {
        *self.lock()
    }

    /// An erasure is about to be written, or has been. The answer is true if it is the first one
    /// since the note was taken away: it is to be noted in the store as well.
    pub fn note_erasure(&self, now_ms: u64) -> bool {
        let mut erasures = self.lock();
        erasures.count += 1;
        let first = erasures.since_ms == 0;
        if first {
            erasures.since_ms = now_ms;
        }
        first
    }

    /// Takes the note away with `remove`, unless something was erased since `before`.
    pub fn forget_erasures<E>(
        &self,
        before: Erasures,
        remove: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut erasures = self.lock();
        if *erasures == before {
            remove()?;
            erasures.since_ms = 0;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Erasures> {
        self.erasures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
