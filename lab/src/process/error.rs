//! Why a server could not be handled, with what it said last.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a server could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It can't be started, logged or signalled.
    #[error("{program}: {cause}")]
    Io {
        /// The program.
        program: String,
        /// What the system said.
        cause: io::Error,
    },
    /// It ended instead of becoming ready.
    #[error("{program} ended ({status}) before it was ready; its log ends with:\n{log_tail}")]
    Ended {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last of what it said.
        log_tail: String,
    },
    /// It took too long.
    #[error("{program} was not {what} within {waited:?}; its log ends with:\n{log_tail}")]
    Timeout {
        /// The program.
        program: String,
        /// What it should have become.
        what: &'static str,
        /// How long one waited.
        waited: Duration,
        /// The last of what it said.
        log_tail: String,
    },
    /// It is not running.
    #[error("{program} is not running")]
    NotRunning {
        /// The program.
        program: String,
    },
}
