//! The number of the last commit that was answered, beside the store.
//!
//! Written after each sync and before the answers, never synced itself: it survives a kill, and
//! after a power cut it may be late, never early. A store whose last commit is below it has lost
//! what was acknowledged.
//!
//! Invariant: the two slots are written in turn, so that one whole slot is there at any time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::open_error::{OpenError, io_at};

/// One slot per sector of 4 KiB, so that a torn write hits only one.
const SLOT_STRIDE_BYTES: u64 = 4096;
const SLOT_BYTES: usize = 8 + 4;

/// The file.
#[derive(Debug)]
pub struct Acked {
    file: File,
    path: PathBuf,
    store_id: [u8; 16],
}

impl Acked {
    /// Makes the file, with no commit answered.
    pub fn create(path: &Path, store_id: [u8; 16]) -> Result<Self, OpenError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        let file = file.map_err(io_at(path))?;
        let acked = Self {
            file,
            path: path.to_owned(),
            store_id,
        };
        for number in [0, 1] {
            acked.write_slot(number, 0).map_err(io_at(path))?;
        }
        acked.file.sync_all().map_err(io_at(path))?;
        Ok(acked)
    }

    /// Opens the file and reads the number.
    pub fn open(path: &Path, store_id: [u8; 16]) -> Result<(Self, u64), OpenError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io_at(path))?;
        let acked = Self {
            file,
            path: path.to_owned(),
            store_id,
        };
        let slots = [acked.read_slot(0)?, acked.read_slot(1)?];
        match slots {
            [Some(a), Some(b)] => Ok((acked, a.max(b))),
            [Some(number), None] | [None, Some(number)] => {
                let file = acked.path.display().to_string();
                tracing::warn!(
                    file,
                    number,
                    "one of two slots is damaged, going by the other"
                );
                Ok((acked, number))
            }
            [None, None] => Err(OpenError::Damaged {
                path: acked.path.clone(),
                detail: "neither slot holds a number".to_owned(),
            }),
        }
    }

    /// Remembers that this commit is on disk. An error only loses a means of noticing loss.
    pub fn remember(&self, commit: u64) {
        if let Err(error) = self.write_slot(commit & 1, commit) {
            tracing::error!(file = %self.path.display(), %error, "cannot note the last commit");
        }
    }

    fn write_slot(&self, slot: u64, commit: u64) -> std::io::Result<()> {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&commit.to_be_bytes());
        bytes[8..].copy_from_slice(&self.checksum(commit).to_be_bytes());
        self.file.write_all_at(&bytes, slot * SLOT_STRIDE_BYTES)
    }

    fn read_slot(&self, slot: u64) -> Result<Option<u64>, OpenError> {
        let mut bytes = [0; SLOT_BYTES];
        match self
            .file
            .read_exact_at(&mut bytes, slot * SLOT_STRIDE_BYTES)
        {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(io_at(&self.path)(error)),
        }
        let (number, checksum) = bytes.split_at(8);
        let number = u64::from_be_bytes(number.try_into().unwrap_or_default());
        Ok((checksum == self.checksum(number).to_be_bytes()).then_some(number))
    }

    fn checksum(&self, commit: u64) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.store_id), &commit.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_remembered_and_one_damaged_slot_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acked");
        let acked = Acked::create(&path, [7; 16]).unwrap();
        for commit in 1..=5 {
            acked.remember(commit);
            assert_eq!(Acked::open(&path, [7; 16]).unwrap().1, commit);
        }
        acked.file.write_all_at(&[0xff], SLOT_STRIDE_BYTES).unwrap();
        assert_eq!(Acked::open(&path, [7; 16]).unwrap().1, 4, "slot 1 held 5");
        acked.file.write_all_at(&[0xff], 0).unwrap();
        assert!(Acked::open(&path, [7; 16]).is_err());
    }

    #[test]
    fn the_file_of_another_store_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acked");
        Acked::create(&path, [7; 16]).unwrap();
        assert!(Acked::open(&path, [8; 16]).is_err());
    }
}
