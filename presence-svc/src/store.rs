//! Store: the seam to where presence is kept.
//!
//! `embedded` keeps it in this process, `redis` for several. `link` is the only
//! caller; `contract` holds every backend to the law below.

use std::sync::Arc;

use tokio::sync::broadcast;
use tonic::async_trait;

use crate::rules::{Facts, SessionKey, UserId};

/// Users of whom something may have changed.
pub type Hint = Arc<[UserId]>;

/// A user's session, as a gateway reports it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    pub user: UserId,
    pub key: SessionKey,
}

/// What a user says of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub user: UserId,
    pub status: Arc<str>,
    pub hidden: bool,
}

/// The backend did not answer, or refused.
#[derive(Debug, thiserror::Error)]
#[error("the presence store does not answer: {0}")]
pub struct StoreError(pub String);

/// Where presence is kept. Every call takes a whole batch, for a few exchanges with the backend
/// however many users are in it.
///
/// The law:
/// - [`PresenceStore::lookup`] is the truth. It answers what [`crate::rules::Life`] makes of the
///   reports taken so far: a session lives for the TTL after its last refresh, whoever fails.
/// - Reports may be lost, repeated, and come late: each is about its session alone, and the next
///   refresh mends what a lost one broke. A failed call may have taken part of its batch.
/// - Settings (status, hidden) and the last time seen outlive a restart of the process and of the
///   backend, but for the last seconds; live sessions may, until their TTL.
/// - [`PresenceStore::changes`] gives hints: they name whoever's facts may have changed other than
///   by time passing, may be late, doubled or lost, and are never needed for the truth.
/// - Memory is bounded: past the backend's bound, who has no settings and was seen least recently
///   is forgotten first; when all have settings, new users are not taken.
#[async_trait]
pub trait PresenceStore: Send + Sync + 'static {
    /// These sessions are alive and in the foreground.
    async fn refresh(&self, sessions: &[Session], now_ms: u64) -> Result<(), StoreError>;

    /// These sessions are closed or in the background; of unknown ones nothing changes.
    async fn gone(&self, sessions: &[Session], now_ms: u64) -> Result<(), StoreError>;

    /// What is known of these users, in their order.
    async fn lookup(&self, users: &[UserId]) -> Result<Vec<Facts>, StoreError>;

    /// Replaces what these users say of themselves.
    async fn set(&self, settings: &[Setting]) -> Result<(), StoreError>;

    /// Hints of changes from now on. A receiver that lags has lost some and must look up anew.
    fn changes(&self) -> broadcast::Receiver<Hint>;
}
