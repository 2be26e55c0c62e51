//! How long the disk takes to sync: the floor under every durable acknowledgement.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use super::{Latency, Percentiles};

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
    const APPEND: [u8; 4096] = [0x5a; 4096];
    let mut file: File = tempfile::tempfile_in(dir)?;
    let mut latency = Latency::default();
    for _ in 0..rounds {
        let started = Instant::now();
        file.write_all(&APPEND)?;
        file.sync_data()?;
        latency.record(started.elapsed());
    }
    Ok(DiskProbe {
        fdatasync: latency.percentiles(),
        append_bytes: APPEND.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_counts_its_rounds_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probe_fdatasync(dir.path(), 3).unwrap().fdatasync.count, 3);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe_fdatasync(&dir.path().join("missing"), 1).is_err());
    }
}
