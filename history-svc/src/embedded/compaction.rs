//! Removes erased bodies from old files: journals and tables that hold what a row was before it was
//! blanked.
//!
//! The engine starts a new journal only when the old one is full, and keeps the old one until all
//! that it holds is in tables. So this fills the journal, writes everything in memory out as
//! tables, and then rewrites the tables; each step is the engine's own.
//!
//! Invariant: the note of an erasure goes only after every file that held the body is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::EmbeddedStore;
use super::engine::{ERASED_SINCE, Engine, FILLER, own_key};
use super::journal;
use super::writer::now_ms;
use crate::cell;

/// A journal is sealed at the next table written after this many bytes.
const JOURNAL_BYTES: usize = 64 << 20;
const FILLER_BYTES: usize = 1 << 20;
/// Between two pieces of filler, so that commits are not held up.
const FILLER_PAUSE: Duration = Duration::from_millis(5);
/// The engine removes a journal some time after all of it is in tables.
const JOURNALS_GONE_PAUSE: Duration = Duration::from_millis(50);
const JOURNALS_GONE_TIMEOUT: Duration = Duration::from_secs(60);

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
        leave_journals(engine, &self.engine_path())?;
        for keyspace in [&engine.logs, &engine.cells] {
            keyspace.major_compact()?;
        }
        // After an erasure during the work the note stays: its body may be in the new files.
        self.status
            .forget_erasures(before, || engine.cells.remove(own_key(ERASED_SINCE)))
    }
}

/// Writes out everything in memory, until the engine has removed the journals that held it.
pub fn leave_journals(engine: &Engine, path: &Path) -> Result<(), fjall::Error> {
    let old = journal::paths(path)?;
    fill_journal(engine)?;
    let begun = Instant::now();
    loop {
        for keyspace in [&engine.cells, &engine.logs] {
            keyspace.rotate_memtable_and_wait()?;
        }
        if !old.iter().any(|path| path.exists()) {
            return Ok(());
        }
        if begun.elapsed() > JOURNALS_GONE_TIMEOUT {
            let text = "the engine keeps an old journal; it is tried again later";
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into());
        }
        std::thread::sleep(JOURNALS_GONE_PAUSE);
    }
}

/// Fills the journal. Nothing is removed at the end: the engine keeps a journal whose last record
/// is a removal that left no trace in a table.
fn fill_journal(engine: &Engine) -> Result<(), fjall::Error> {
    for _ in 0..=JOURNAL_BYTES / FILLER_BYTES {
        insert(engine, FILLER, &vec![0; FILLER_BYTES])?;
        std::thread::sleep(FILLER_PAUSE);
    }
    insert(engine, FILLER, &[])
}

/// Writes one of the store's own cells.
fn insert(engine: &Engine, clustering: &[u8], value: &[u8]) -> Result<(), fjall::Error> {
    let key = own_key(clustering);
    let mut stored = BytesMut::from(&key[..]);
    cell::encode_value(&mut stored, 0, value);
    engine
        .cells
        .insert(key.clone(), stored.freeze().slice(key.len()..))
}
