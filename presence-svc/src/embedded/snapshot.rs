//! Snapshot: what outlives a restart, as one file that is replaced as a whole.
//!
//! Written now and then by a blocking thread, and once more at the end; read when presence opens.
//!
//! Invariant: the file is either the old one or the new one, synced before it gets its name; a
//! checksum tells any other state apart, and such a file is refused, since dropping it in silence
//! would show people who hide.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use tokio_util::sync::CancellationToken;

use super::EmbeddedStore;
use crate::rules::{Facts, UserId};

/// What the file begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"HDLPRES\x01";
const CHECKSUM_BYTES: usize = 4;
const FILE: &str = "users";
/// Writing may take this share of the time at most, however many users there are.
const WRITE_SHARE: u32 = 20;

/// Presence cannot open what it wrote down.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refuses.
    #[error("{path}: {error}; presence.data_dir must be a directory that this user may write")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process; stop it, or set another presence.data_dir")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The checksum does not match, or the format is a newer one.
    #[error(
        "{path} is damaged or of a newer version; restore it, or remove it to start without \
         statuses and last-seen times (users who hide are visible until they hide again)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// One user in the file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedUser {
    #[prost(string, tag = "1")]
    pub user_id: String,
    #[prost(uint64, tag = "2")]
    pub online_until_ms: u64,
    #[prost(uint64, tag = "3")]
    pub last_seen_ms: u64,
    #[prost(string, tag = "4")]
    pub status: String,
    #[prost(bool, tag = "5")]
    pub hidden: bool,
}

/// The file's content after magic and checksum.
#[derive(Clone, PartialEq, Message)]
struct SavedUsers {
    #[prost(message, repeated, tag = "1")]
    users: Vec<SavedUser>,
}

impl SavedUser {
    pub fn of(id: &UserId, facts: Facts) -> Self {
        Self {
            user_id: id.to_string(),
            online_until_ms: facts.online_until_ms,
            last_seen_ms: facts.last_seen_ms,
            status: facts.status.to_string(),
            hidden: facts.hidden,
        }
    }
}

/// The directory, locked for as long as this lives.
pub(crate) struct SnapshotDir {
    path: PathBuf,
    _lock: File,
}

impl SnapshotDir {
    /// Locks `presence` below the data directory. Blocks.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let path = data_dir.join("presence");
        let failed = |error| OpenError::Io {
            path: path.clone(),
            error,
        };
        fs::create_dir_all(&path).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Reads the file, if there is one, into the store. Blocks.
    pub fn load(&self, store: &EmbeddedStore) -> Result<(), OpenError> {
        let path = self.path.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(OpenError::Io { path, error }),
        };
        let saved = parse(&bytes).ok_or(OpenError::Damaged { path })?;
        saved
            .users
            .into_iter()
            .for_each(|user| store.remember(user));
        Ok(())
    }

    /// Replaces the file. Blocks, and syncs.
    pub(super) fn save(&self, store: &EmbeddedStore) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0; CHECKSUM_BYTES]);
        for users in store.saved() {
            // Encodings one after the other are the encoding of all of them together.
            bytes.extend(SavedUsers { users }.encode_to_vec());
        }
        let (head, content) = bytes.split_at_mut(MAGIC.len() + CHECKSUM_BYTES);
        head[MAGIC.len()..].copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        let written = self.path.join("users.new");
        let mut file = File::create(&written)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&written, self.path.join(FILE))?;
        File::open(&self.path)?.sync_all()
    }
}

fn parse(bytes: &[u8]) -> Option<SavedUsers> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, content) = rest.split_first_chunk::<CHECKSUM_BYTES>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
        return None;
    }
    SavedUsers::decode(content).ok()
}

/// Writes down what changed, each `interval`, and once more when `stopping`.
pub(crate) async fn keep(
    store: Arc<EmbeddedStore>,
    dir: SnapshotDir,
    interval: Duration,
    stopping: CancellationToken,
) {
    // What was loaded counts as no change.
    let (dir, mut written, mut pause) = (Arc::new(dir), 0, interval);
    let mut last = false;
    while !last {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => last = true,
        }
        let changed = store.changed();
        if changed == written {
            continue;
        }
        let (dir, store) = (dir.clone(), store.clone());
        let begun = Instant::now();
        let saved = tokio::task::spawn_blocking(move || dir.save(&store)).await;
        match saved.map_err(io::Error::other).flatten() {
            Ok(()) => written = changed,
            Err(error) => tracing::warn!(%error, "presence cannot be written down; trying again"),
        }
        pause = interval.max(begun.elapsed() * WRITE_SHARE);
    }
}
