//! The main job: a real day of a channel, replayed through real sessions, checked to the byte.
//!
//! [`cast`] makes the people and their devices ([`person`], [`device`]), [`direct`] walks the day's
//! steps with sessions going offline and the server being killed on the way, [`judge`] compares
//! what every device got with the server's log and that with the file. [`mod@line`] is what is
//! said, [`ledger`] what all share.
//!
//! Invariant: the judgement rests on the file and on what the devices got; the server's own log is
//! judged, too.

mod absence;
mod cast;
mod device;
mod direct;
mod judge;
mod kills;
mod ledger;
mod line;
mod log;
mod marks;
mod ours;
mod person;
mod report;

use std::path::PathBuf;

use clap::Args;

use crate::faults::cycles::Shape;
use crate::irc::{Day, Script};
use crate::target::{TargetError, TargetOptions};
pub use report::ReplayReport;

/// A group beside the channel needs more than two.
const PEOPLE_MIN: usize = 3;

/// How to replay.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// An IRC log: `[HH:MM] <nick> text`, `=== nick has joined #channel` and the like
    pub file: PathBuf,
    #[command(flatten)]
    /// Which server.
    pub target: TargetOptions,
    /// What is started for the run: one process, or the services as processes of their own
    #[arg(long, value_enum, default_value = "one", conflicts_with = "target")]
    pub shape: Shape,
    /// Devices of each user
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub devices: u32,
    /// SIGKILL the server after each so many messages and start it again (own server only); of a
    /// cluster one service after the other
    #[arg(long, value_name = "MESSAGES", conflicts_with = "target")]
    pub kill_every: Option<u64>,
    /// What is left to chance follows from this
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Sends that may be unanswered at once, over all speakers
    #[arg(long, default_value_t = 1600, hide = true)]
    pub window: u32,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Why a replay came to no judgement.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The server.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The file.
    #[error("{file}: {error}")]
    File {
        /// Which.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Nothing in it.
    #[error("{0} has no line that anybody says: is it an IRC log?")]
    Empty(PathBuf),
    /// Not enough in it.
    #[error("{file}: {people} people say something or come and go; a replay needs at least 3")]
    TooFew {
        /// Which.
        file: PathBuf,
        /// How many.
        people: usize,
    },
    /// Too few open files.
    #[error(
        "{needed} sessions need as many open files and this process may have {limit}: raise \
             `ulimit -n`"
    )]
    Files {
        /// Sessions.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// Something took longer than ever.
    #[error("{0}")]
    Stuck(String),
}

/// Replays a file.
pub async fn run(options: &ReplayOptions) -> Result<ReplayReport, ReplayError> {
    let read = |error| ReplayError::File {
        file: options.file.clone(),
        error,
    };
    let day = Day::parse(&std::fs::read(&options.file).map_err(read)?);
    let script = Script::new(&day);
    let (file, people) = (options.file.clone(), script.users.len());
    if script.message_count() == 0 {
        return Err(ReplayError::Empty(file));
    }
    if people < PEOPLE_MIN {
        return Err(ReplayError::TooFew { file, people });
    }
    direct::run(options, &script).await
}
