//! What the chat of one user and device remembers across restarts: unsent lines and its place.
//!
//! Invariant: one chat at a time has the directory, so that no line is sent twice by two of them.

use crate::failure::{Failure, Outcome};
use heddle_sdk::{FileOutbox, v1};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The directory of one user's device.
pub(super) struct Memory {
    directory: PathBuf,
    _lock: File,
}

impl Memory {
    /// Makes the directory, and keeps others out while this lives.
    pub(super) fn open(directory: &Path) -> Outcome<Self> {
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot use {}: {error}", directory.display()))
                .hint("name a directory of yours with --data")
        };
        std::fs::create_dir_all(directory).map_err(cannot)?;
        let lock = File::create(directory.join("lock")).map_err(cannot)?;
        lock.try_lock().map_err(|_| {
            Failure::new("another chat of this user and device is open")
                .hint("end it, or name another device with --device")
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// The lines that are not answered yet.
    pub(super) fn outbox(&self) -> Outcome<FileOutbox> {
        let path = self.directory.join("outbox");
        FileOutbox::open(&path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
    }

    /// The place in the mailbox at which the last chat ended.
    pub(super) fn cursor(&self) -> Option<v1::Cursor> {
        let text = std::fs::read_to_string(self.directory.join("cursor")).ok()?;
        let (position, nonce) = text.trim().split_once(' ')?;
        Some(v1::Cursor {
            position: position.parse().ok()?,
            nonce: nonce.parse().ok()?,
        })
    }

    /// Keeps a place; one that is lost only costs a longer look back.
    pub(super) fn keep(&self, cursor: v1::Cursor) {
        let fresh = self.directory.join("cursor.new");
        let text = format!("{} {}\n", cursor.position, cursor.nonce);
        let kept = std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, self.directory.join("cursor")));
        if let Err(error) = kept {
            tracing::warn!(%error, "the place in the mailbox could not be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_and_a_second_chat_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::open(directory.path()).unwrap();
        assert_eq!(memory.cursor(), None);
        let place = v1::Cursor {
            position: 7,
            nonce: u64::MAX,
        };
        memory.keep(place);
        assert_eq!(memory.cursor(), Some(place));
        assert!(Memory::open(directory.path()).is_err());
        drop(memory);
        assert!(Memory::open(directory.path()).is_ok());
    }
}
