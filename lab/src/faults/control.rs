//! The control of the power cut: a writer that syncs loses nothing, one that does not loses.
//!
//! [`super::power`] runs it before its cycles, on the disk that they use. No server takes part.
//!
//! Invariant: both writers have been told by the system that all was written.

use std::fs::{File, read};
use std::io::{Error, Write};
use std::path::Path;

use serde::Serialize;

use super::FaultError;
use super::image::Image;

/// Records that each writer appends.
const RECORDS: usize = 200;
/// Bytes of each.
const RECORD_BYTES: usize = 100;

/// What was left of two writers' records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Written by each.
    pub written: usize,
    /// Left of those that were synced one by one.
    pub synced_kept: usize,
    /// Left of those that were not.
    pub unsynced_kept: usize,
}

impl Control {
    /// An error unless the cut takes what was not synced, and only that.
    pub fn verify(self) -> Result<Control, FaultError> {
        let Control {
            written,
            synced_kept,
            unsynced_kept,
        } = self;
        if synced_kept == written && unsynced_kept < written {
            return Ok(self);
        }
        Err(FaultError::Blunt(format!(
            "of {written} records {synced_kept} synced and {unsynced_kept} unsynced ones were left"
        )))
    }
}

/// Both write, the power is cut, and what is left is counted.
pub fn run(image: &mut Image) -> Result<Control, FaultError> {
    let (synced, unsynced) = (image.path().join("synced"), image.path().join("unsynced"));
    let writing = FaultError::disk("a writer of the control");
    write(&synced, true)
        .and_then(|()| write(&unsynced, false))
        .map_err(writing)?;
    image.cut()?;
    image.power_on()?;
    Ok(Control {
        written: RECORDS,
        synced_kept: kept(&synced),
        unsynced_kept: kept(&unsynced),
    })
}

fn write(path: &Path, sync: bool) -> Result<(), Error> {
    let mut file = File::create(path)?;
    if sync {
        let directory = path.parent().map(File::open).transpose()?;
        directory.map_or(Ok(()), |directory| directory.sync_all())?;
    }
    for number in 0..RECORDS {
        file.write_all(&record(number))?;
        if sync {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Whole records from the beginning on; a file that is gone has none.
fn kept(path: &Path) -> usize {
    let bytes = read(path).unwrap_or_default();
    let records = bytes.chunks(RECORD_BYTES).enumerate();
    let is_whole = |(number, bytes): &(usize, &[u8])| *bytes == record(*number);
    records.take_while(is_whole).count()
}

fn record(number: usize) -> [u8; RECORD_BYTES] {
    let mut record = [b'.'; RECORD_BYTES];
    record[..8].copy_from_slice(&(number as u64).to_be_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where no file system can be mounted the rig says so, and there is nothing to test.
    #[test]
    fn the_cut_takes_what_was_not_synced_and_nothing_else() {
        let mut image = match Image::create() {
            Ok(image) => image,
            Err(FaultError::Impossible(why)) => return eprintln!("NOT TESTED: {why}"),
            Err(error) => panic!("{error}"),
        };
        let control = run(&mut image).unwrap().verify().unwrap();
        assert_eq!((control.written, control.synced_kept), (RECORDS, RECORDS));
    }

    #[test]
    fn a_cut_that_tells_nothing_apart_is_an_error() {
        let control = |synced_kept, unsynced_kept| Control {
            written: 5,
            synced_kept,
            unsynced_kept,
        };
        assert!(control(5, 0).verify().is_ok());
        assert!(control(5, 5).verify().is_err(), "nothing was lost");
        assert!(control(4, 0).verify().is_err(), "a synced record was lost");
    }
}
