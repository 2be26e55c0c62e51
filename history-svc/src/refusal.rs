//! Refusals: why a commit is not accepted, as every store says it.
//!
//! `embedded` and `cassandra` check commits each in their own way and answer with these.
//!
//! Invariant: only what leaves no trace is `REFUSED`.

use heddle_proto::ids::LogId;
use heddle_proto::internal::CommitStatus;

use crate::data_loss::TOLD;

/// A commit that is not accepted, or not confirmed.
#[derive(Debug)]
pub struct Refusal {
    /// What it is told.
    pub status: CommitStatus,
    /// Why.
    pub message: String,
}

/// The commit cannot be taken as it is; nothing of it was written.
pub fn invalid(message: String) -> Refusal {
    Refusal {
        status: CommitStatus::Refused,
        message,
    }
}

/// What the commit builds on is missing or damaged; nothing of it was written. For the answer
/// itself: each is counted.
pub fn lost(message: String) -> Refusal {
    TOLD.to_committer(&message);
    invalid(message)
}

/// The log that a commit names.
pub fn parse_log_id(bytes: &[u8]) -> Result<LogId, Refusal> {
    let found = bytes.len();
    LogId::from_wire(bytes).ok_or_else(|| invalid(format!("log_id: {found} bytes, need 16")))
}

/// A row that does not start where its log ends: the owner knows another log than the store.
pub fn does_not_follow(log_id: &LogId, first_seq: u64, head: u64) -> Refusal {
    tracing::error!(%log_id, first_seq, head, "row refused");
    Refusal {
        status: CommitStatus::Unknown,
        message: format!(
            "log {log_id} ends at {head}, a row from {first_seq} does not follow: take the shard \
             again"
        ),
    }
}
