//! How long the disk takes to sync: the floor under every durable acknowledgement.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Latency, Percentiles};

/// Appended before each sync.
const APPEND: [u8; 4096] = [0x5a; 4096];

/// What a probe of the disk found.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct DiskProbe {
    /// Time of one append and fdatasync.
    pub fdatasync: Percentiles,
    /// Bytes appended before each sync.
    pub append_bytes: u64,
}

/// Appends and syncs `rounds` times in a temporary file below `dir`. Blocks its thread.
pub fn probe_fdatasync(dir: &Path, rounds: u32) -> io::Result<DiskProbe> {
    let mut probing = Probing::below(dir)?;
    for _ in 0..rounds {
        probing.round()?;
    }
    Ok(probing.found())
}

/// The same once in each `pause` until `stop`, at least once: beside a load, of which it is meant
/// to be a small part. Blocks its thread.
pub fn watch_fdatasync(
    dir: &Path,
    pause: Duration,
    stop: &CancellationToken,
) -> io::Result<DiskProbe> {
    let mut probing = Probing::below(dir)?;
    loop {
        probing.round()?;
        if stop.is_cancelled() {
            return Ok(probing.found());
        }
        std::thread::sleep(pause);
    }
}

struct Probing {
    file: File,
    latency: Latency,
}

impl Probing {
    fn below(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile_in(dir)?,
            latency: Latency::default(),
        })
    }

    fn round(&mut self) -> io::Result<()> {
        let started = Instant::now();
        self.file.write_all(&APPEND)?;
        self.file.sync_data()?;
        self.latency.record(started.elapsed());
        Ok(())
    }

    fn found(&self) -> DiskProbe {
        DiskProbe {
            fdatasync: self.latency.percentiles(),
            append_bytes: APPEND.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_counts_its_rounds_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probe_fdatasync(dir.path(), 3).unwrap().fdatasync.count, 3);
        let stopped = CancellationToken::new();
        stopped.cancel();
        let once = watch_fdatasync(dir.path(), Duration::from_secs(60), &stopped).unwrap();
        assert_eq!(once.fdatasync.count, 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe_fdatasync(&dir.path().join("missing"), 1).is_err());
    }
}
