//! Why a store is not opened, each with what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The store was not opened; nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error(
        "another server uses this data directory (pid {}, lock {}); stop it or choose another \
         directory",
        pid.map_or_else(|| "unknown".to_owned(), |pid: u32| pid.to_string()),
        path.display()
    )]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The process, as the lock file names it.
        pid: Option<u32>,
    },
    /// A newer version wrote the store.
    #[error(
        "{} says format {found}, this version reads up to format {known}: use the newer version, \
         nothing was changed",
        path.display()
    )]
    Newer {
        /// The stamp.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this version reads.
        known: u32,
    },
    /// The stamp is not what was written.
    #[error("{} is damaged: restore the data directory from a copy", path.display())]
    StampDamaged {
        /// The stamp.
        path: PathBuf,
    },
    /// A store without its stamp.
    #[error(
        "{} is missing beside an existing store: restore the data directory whole, or choose an \
         empty one",
        path.display()
    )]
    StampMissing {
        /// Where the stamp should be.
        path: PathBuf,
    },
    /// Bytes of the store have changed.
    #[error(
        "{} is damaged: {detail}; restore the data directory from a copy, nothing was changed",
        path.display()
    )]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Less is there than was acknowledged.
    #[error(
        "data loss in {}: commits up to {acknowledged} were acknowledged, {found}; restore the \
         data directory from a copy, or start once with accept_data_loss to go on without them",
        path.display()
    )]
    DataLoss {
        /// The store.
        path: PathBuf,
        /// The last commit that was answered.
        acknowledged: u64,
        /// What is there instead.
        found: String,
    },
    /// The engine does not open.
    #[error("the store in {} does not open: {detail}", path.display())]
    Engine {
        /// The engine's directory.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// A file operation failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// For `map_err`: names the file that an error is about.
pub fn io_at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |error| OpenError::Io {
        path: path.to_owned(),
        error,
    }
}
