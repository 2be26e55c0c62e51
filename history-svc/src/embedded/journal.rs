//! Looks through the engine's journals before the engine does.
//!
//! The engine drops whatever follows a damaged batch, in silence, and for good. So this reads the
//! journals first, changes nothing, and tells a torn end (a batch that was never acknowledged; the
//! engine may drop it) from damage in the middle (acknowledged batches follow it; refused).
//!
//! Format (engine version 3): Start{count, seqno}, Items, End{xxh3, "FJL\3"}; each batch of ours
//! ends with the cell that counts commits.
//!
//! Invariant: reads only.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::engine::{COMMIT_COUNT, own_key};
use crate::cell;

const TRAILER: &[u8; 4] = b"FJL\x03";
const READ_BYTES: usize = 256 << 10;
/// Checksum and trailer after the last item of a batch.
const END_BYTES: usize = 1 + 8 + 4;
/// More would not fit the bounds of a commit; a larger length is damage.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// The engine counts by ones, and now and then skips a few.
const SEQNO_STEP_MAX: u64 = 1 << 40;

/// One journal as found.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where the last whole batch ends, in bytes.
    pub valid_bytes: u64,
    /// Number of the first commit in it.
    pub first_commit: Option<u64>,
    /// Number of the last commit that follows without a gap.
    pub last_commit: Option<u64>,
    /// A greater number found behind what cannot be read.
    pub commit_beyond: Option<u64>,
    /// What ended the reading, if it was not the end of what was written.
    pub broken: Option<&'static str>,
    /// The engine's sequence number of the last batch.
    pub last_seqno: u64,
}

/// The journals of an engine, oldest first.
pub fn paths(engine: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(engine)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            numbered.push((number, path));
        }
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// Reads one journal; `seqno_before` and `commit_before` are what the one before ended with.
pub fn scan(path: &Path, seqno_before: u64, commit_before: Option<u64>) -> io::Result<Scan> {
    let mut reader = Reader::open(path)?;
    let mut scan = Scan {
        valid_bytes: 0,
        first_commit: None,
        last_commit: commit_before,
        commit_beyond: None,
        broken: None,
        last_seqno: seqno_before,
    };
    loop {
        let batch = match reader.batch() {
            Ok(batch) => batch,
            Err(Stop::Broken(what)) => {
                scan.broken = Some(what);
                break;
            }
            Err(Stop::End) => break,
            Err(Stop::Io(error)) => return Err(error),
        };
        let order = scan.last_seqno + 1..scan.last_seqno.saturating_add(SEQNO_STEP_MAX);
        if scan.last_seqno != 0 && !order.contains(&batch.seqno) {
            scan.broken = Some("a batch is out of order");
            break;
        }
        if let Some(commit) = batch.commit {
            if scan.last_commit.is_some_and(|last| commit != last + 1) {
                scan.broken = Some("a commit is missing before this one");
                break;
            }
            scan.first_commit = scan.first_commit.or(Some(commit));
            scan.last_commit = Some(commit);
        }
        scan.last_seqno = batch.seqno;
        scan.valid_bytes = reader.position;
    }
    scan.commit_beyond = beyond(path, scan.valid_bytes, scan.last_commit)?;
    Ok(scan)
}

/// The greatest commit number behind `from` that can still be read.
fn beyond(path: &Path, from: u64, last: Option<u64>) -> io::Result<Option<u64>> {
    use std::os::unix::fs::FileExt;
    let file = File::open(path)?;
    let key = own_key(COMMIT_COUNT);
    let record_bytes = key.len() + cell::value_len(&[0; 8]) + END_BYTES;
    let mut buffer = vec![0; READ_BYTES];
    let (mut at, mut greatest) = (from, None);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read < record_bytes {
            return Ok(greatest);
        }
        for end in record_bytes..=read {
            if buffer[end - 1] != TRAILER[3] || !buffer[..end].ends_with(TRAILER) {
                continue;
            }
            let record = &buffer[end - record_bytes..end - END_BYTES];
            let (found, value) = record.split_at(key.len());
            let commit = (found == key).then(|| parse_count(&key, value)).flatten();
            if commit.is_some() && commit > last && commit > greatest {
                greatest = commit;
            }
        }
        at += (read - record_bytes + 1) as u64;
    }
}

fn parse_count(key: &[u8], stored: &[u8]) -> Option<u64> {
    let value = cell::decode_value(key, &Bytes::copy_from_slice(stored)).ok()?;
    Some(u64::from_be_bytes(value[..].try_into().ok()?))
}

struct Batch {
    seqno: u64,
    commit: Option<u64>,
}

enum Stop {
    /// Nothing was written here, or not all of it.
    End,
    /// Something was written here that is not what it should be.
    Broken(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::End
        } else {
            Self::Io(error)
        }
    }
}

struct Reader {
    file: BufReader<File>,
    position: u64,
    item: Vec<u8>,
    count_key: Bytes,
}

impl Reader {
    fn open(path: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
        Ok(Self {
            file,
            position: 0,
            item: Vec::new(),
            count_key: own_key(COMMIT_COUNT),
        })
    }

    fn batch(&mut self) -> Result<Batch, Stop> {
        match self.byte()? {
            1 => {}
            0 => return Err(Stop::End),
            _ => return Err(Stop::Broken("a batch does not begin where it should")),
        }
        let count = u32::from_le_bytes(self.array()?);
        let seqno = u64::from_le_bytes(self.array()?);
        let (mut checksum, mut commit) = (Xxh3::new(), None);
        for _ in 0..count {
            commit = self.item(&mut checksum)?.or(commit);
        }
        if self.byte()? != 3 {
            return Err(Stop::Broken("a batch does not end where it should"));
        }
        let expected = u64::from_le_bytes(self.array()?);
        if &self.array()? != TRAILER {
            return Err(Stop::Broken("a batch is not closed"));
        }
        if checksum.digest() != expected {
            return Err(Stop::Broken("the checksum of a batch does not match"));
        }
        Ok(Batch { seqno, commit })
    }

    /// One item; the commit number if it is the cell that counts them.
    fn item(&mut self, checksum: &mut Xxh3) -> Result<Option<u64>, Stop> {
        let tag = self.byte()?;
        self.item.clear();
        self.item.push(tag);
        match tag {
            2 => {}
            4 => {
                let keyspace: [u8; 8] = self.array()?;
                self.item.extend_from_slice(&keyspace);
                checksum.update(&self.item);
                return Ok(None);
            }
            _ => return Err(Stop::Broken("an item does not begin where it should")),
        }
        let header: [u8; 1 + 1 + 8 + 2 + 4 + 4] = self.array()?;
        self.item.extend_from_slice(&header);
        let key_len = usize::from(u16::from_le_bytes([header[10], header[11]]));
        let stored = u32::from_le_bytes([header[16], header[17], header[18], header[19]]) as usize;
        if stored > VALUE_BYTES_MAX {
            return Err(Stop::Broken("an item is longer than any that was written"));
        }
        let start = self.item.len();
        self.item.resize(start + key_len + stored, 0);
        self.file.read_exact(&mut self.item[start..])?;
        self.position += (key_len + stored) as u64;
        checksum.update(&self.item);
        let (key, value) = self.item[start..].split_at(key_len);
        Ok((key == self.count_key)
            .then(|| parse_count(key, value))
            .flatten())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }
}
