//! Removes erased bodies from old files: journals and tables that hold what a row was before it was
//! blanked.
//!
//! The engine starts a new journal only when the old one is full, and keeps the old one until all
//! that it holds is in tables. So this fills the journal, writes everything in memory out as tables,
//! and then rewrites the tables; each step is the engine's own.
//!
//! Invariant: the note of an erasure goes only after every file that held the body is gone.

use std::time::Duration;

use super::EmbeddedStore;
use super::engine::{ERASED_SINCE, Engine, FILLER, own_key};
use super::writer::now_ms;
use crate::cell;

/// A journal is sealed at the next table written after this many bytes.
const JOURNAL_BYTES: usize = 64 << 20;
const FILLER_BYTES: usize = 1 << 20;
/// Between two pieces of filler, so that commits are not held up.
const FILLER_PAUSE: Duration = Duration::from_millis(5);

impl EmbeddedStore {
    /// Age of the oldest erasure whose body may still lie in old files.
    pub fn erasure_age(&self) -> Option<Duration> {
        let since_ms = self.status.erasures().since_ms;
        (since_ms != 0).then(|| Duration::from_millis(now_ms().saturating_sub(since_ms)))
    }

    /// Rewrites the store so that nothing erased before this call is left on disk. Blocks for
    /// seconds to minutes; reads and commits go on meanwhile.
    pub fn compact(&self) -> Result<(), fjall::Error> {
        let before = self.status.erasures();
        let engine = self.engine();
        fill_journal(engine)?;
        for keyspace in [&engine.cells, &engine.logs] {
            keyspace.rotate_memtable_and_wait()?;
        }
        for keyspace in [&engine.logs, &engine.cells] {
            keyspace.major_compact()?;
        }
        // After an erasure during the work the note stays: its body may be in the new files.
        self.status
            .forget_erasures(before, || engine.cells.remove(own_key(ERASED_SINCE)))
    }
}

fn fill_journal(engine: &Engine) -> Result<(), fjall::Error> {
    let key = own_key(FILLER);
    let mut stored = bytes::BytesMut::from(&key[..]);
    cell::encode_value(&mut stored, 0, &vec![0; FILLER_BYTES]);
    let value = stored.freeze().slice(key.len()..);
    for _ in 0..=JOURNAL_BYTES / FILLER_BYTES {
        engine.cells.insert(key.clone(), value.clone())?;
        std::thread::sleep(FILLER_PAUSE);
    }
    engine.cells.remove(key)
}
