//! What breaks Heddle on purpose, and what is judged afterwards: `cargo xtask faults`.
//!
//! [`kill`] sends SIGKILL at random instants under the mixed workload, [`cluster`] strikes engines
//! and whole clusters, [`power`] cuts the power of the disk under it, [`full`] lets the disk fill
//! up, [`push`] kills what pushes depend on, [`drain`] times planned drains; [`cycles`] is what all
//! share, [`probe`] a client that never repeats, [`readback`] what it was told, [`image`] the disk
//! whose power can be cut, and [`control`] shows that the cut loses what was not synced.
//!
//! Invariant: a cycle counts only when enough was acknowledged in it, and verdicts are the
//! checker's alone.

pub mod cluster;
pub mod control;
pub mod cycles;
pub mod drain;
pub mod full;
pub mod image;
pub mod kill;
pub mod power;
pub mod probe;
pub mod push;
pub mod readback;

use crate::load::LoadError;
use crate::target::TargetError;

/// Why a fault suite can't go on.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The server, its directory, or what was asked of it.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The load that the fault was to meet.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// This machine does not allow the fault.
    #[error("this machine does not allow the fault: {0}")]
    Impossible(String),
    /// The disk image.
    #[error("{what}: {error}")]
    Disk {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A power cut that loses nothing proves nothing.
    #[error("the power cut tells nothing apart: {0}")]
    Blunt(String),
    /// The fault does not fit what it is to strike.
    #[error("{0}")]
    Unfit(String),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl FaultError {
    /// For `map_err`: what was tried with the disk image.
    fn disk(what: &str) -> impl FnOnce(std::io::Error) -> FaultError {
        let what = what.to_owned();
        move |error| FaultError::Disk { what, error }
    }
}
