//! What is looked at before the engine may touch its files, and right after.
//!
//! The engine checks blocks and batches, but not that its list of tables is the one it wrote, and
//! it repairs by dropping. So: the list's checksum, the journals (see `journal`) and the number of
//! the last commit are checked first, and damage is refused while all evidence is still there.
//!
//! Invariant: changes nothing but the torn end of the last journal, which was never acknowledged.

use std::fs::{self, OpenOptions};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::engine::{COMMIT_COUNT, Engine};
use super::journal::{self, Scan};
use super::open_error::{OpenError, io_at};

/// The keyspaces by number: the engine's own, logs, cells.
const KEYSPACES: [u32; 3] = [0, 1, 2];
/// Version id, checksum, kind of checksum.
const CURRENT_BYTES: usize = 8 + 16 + 1;

/// Checks the engine's files against each other and against the last commit answered.
pub fn check(engine: &Path, acknowledged: u64, accept_loss: bool) -> Result<(), OpenError> {
    for keyspace in KEYSPACES {
        check_manifest(&engine.join("keyspaces").join(keyspace.to_string()))?;
    }
    check_journals(engine, acknowledged, accept_loss)
}

/// The opened store must hold the last commit that was answered.
pub fn check_opened(
    engine: &Engine,
    path: &Path,
    acknowledged: u64,
    accept_loss: bool,
) -> Result<(), OpenError> {
    let damaged = |detail| OpenError::Damaged {
        path: path.to_owned(),
        detail,
    };
    let found = engine
        .own_number(COMMIT_COUNT)
        .map_err(|error| damaged(error.to_string()))?;
    if found >= acknowledged {
        return Ok(());
    }
    loss(
        path,
        acknowledged,
        format!("the store ends at {found}"),
        accept_loss,
    )
}

fn check_manifest(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join("current");
    let current = fs::read(&path).map_err(io_at(&path))?;
    let damaged = |detail: String| OpenError::Damaged {
        path: path.clone(),
        detail,
    };
    let current: [u8; CURRENT_BYTES] = current
        .try_into()
        .map_err(|_| damaged("it has a wrong length".to_owned()))?;
    let mut version = [0; 8];
    version.copy_from_slice(&current[..8]);
    let version = u64::from_le_bytes(version);
    let manifest = folder.join(format!("v{version}"));
    let content = fs::read(&manifest)
        .map_err(|error| damaged(format!("it names {}: {error}", manifest.display())))?;
    if xxh3_128(&content).to_le_bytes() != current[8..24] || current[24] != 0 {
        let detail = format!("it does not match {}", manifest.display());
        return Err(damaged(detail));
    }
    Ok(())
}

fn check_journals(engine: &Path, acknowledged: u64, accept_loss: bool) -> Result<(), OpenError> {
    let paths = journal::paths(engine).map_err(io_at(engine))?;
    let (mut seqno, mut commit, mut torn) = (0, None, None);
    for path in &paths {
        if let Some((path, scan)) = torn.take() {
            // A journal that was not the last one ended whole: it was synced before the next began.
            refuse_if_broken(path, &scan, acknowledged, accept_loss)?;
        }
        let scan = journal::scan(path, seqno, commit).map_err(io_at(path))?;
        (seqno, commit) = (scan.last_seqno, scan.last_commit);
        let last = commit.unwrap_or(acknowledged);
        if let Some(beyond) = scan.commit_beyond.filter(|&beyond| beyond > last + 1) {
            let what = scan.broken.unwrap_or("bytes are missing");
            let found = format!(
                "in {} {what} at byte {}, after commit {last}, and commits up to {beyond} follow",
                path.display(),
                scan.valid_bytes
            );
            loss(engine, acknowledged.max(beyond), found, accept_loss)?;
        }
        torn = Some((path, scan));
    }
    if let Some(last) = commit.filter(|&last| last < acknowledged) {
        let found = format!("the journal ends at commit {last}");
        loss(engine, acknowledged, found, accept_loss)?;
    }
    match torn {
        Some((path, scan)) => cut_torn_end(path, &scan),
        None => Ok(()),
    }
}

fn refuse_if_broken(
    path: &Path,
    scan: &Scan,
    acknowledged: u64,
    accept_loss: bool,
) -> Result<(), OpenError> {
    let Some(what) = scan.broken else {
        return Ok(());
    };
    let found = format!("in {} {what} at byte {}", path.display(), scan.valid_bytes);
    loss(path, acknowledged, found, accept_loss)
}

/// Drops what a crash left of a batch that was never acknowledged: the engine would refuse it.
fn cut_torn_end(path: &Path, scan: &Scan) -> Result<(), OpenError> {
    let Some(what) = scan.broken else {
        return Ok(());
    };
    let at = scan.valid_bytes;
    tracing::warn!(journal = %path.display(), what, at, "dropping an unacknowledged, torn end");
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(io_at(path))?;
    file.set_len(at)
        .and_then(|()| file.sync_all())
        .map_err(io_at(path))
}

fn loss(path: &Path, acknowledged: u64, found: String, accept_loss: bool) -> Result<(), OpenError> {
    if accept_loss {
        tracing::error!(path = %path.display(), acknowledged, found, "data loss, accepted");
        return Ok(());
    }
    Err(OpenError::DataLoss {
        path: path.to_owned(),
        acknowledged,
        found,
    })
}
