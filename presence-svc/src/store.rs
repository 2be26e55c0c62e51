//! Store: the seam to where presence is kept.
//!
//! `embedded` keeps it in this process, `redis` for several. `link` is the only
//! caller; `contract` holds every backend to the law below.

use std::sync::Arc;

use heddle_proto::internal::GatewayStatus;
use tokio::sync::broadcast;
use tonic::async_trait;

use crate::rules::{Facts, SessionKey, UserId};

/// How long a gateway is known after its last word (milliseconds); it says one every 5 s.
pub const GATEWAY_TTL_MS: u64 = 15_000;
/// Gateways that are known at once; one more is not taken.
pub const GATEWAYS_MAX: usize = 4_096;

/// What a gateway is known by: several may share an address, behind a balancer. One of an older
/// build has an address of its own and says no more.
pub fn gateway_name(gateway: &GatewayStatus) -> &str {
    match gateway.gateway_id.is_empty() {
        true => &gateway.address,
        false => &gateway.gateway_id,
    }
}
/// How long what users have spent is counted on after the last word of it (milliseconds): longer
/// than gateways compare what they hear, shorter than a pause after which all begins anew.
pub const SPENT_TTL_MS: u64 = 30_000;

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

/// Who spends: an id of 16 bytes, which is no name.
pub type SpenderId = [u8; 16];

/// Calls of a user that one gateway has let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    pub user: SpenderId,
    pub calls: u32,
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
/// - What is spent adds up over all processes, each word once; after [`SPENT_TTL_MS`] without one,
///   or when the backend has lost it, a count begins anew, and is never negative.
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

    /// A gateway says of itself what clients may know; it is known by [`gateway_name`] for
    /// [`GATEWAY_TTL_MS`], and a later word replaces an earlier one.
    async fn announce(&self, gateway: &GatewayStatus, now_ms: u64) -> Result<(), StoreError>;

    /// The gateways that have announced themselves within the TTL, in no order.
    async fn gateways(&self, now_ms: u64) -> Result<Vec<GatewayStatus>, StoreError>;

    /// Adds what users have spent; answers for each what all have counted of that user now, in
    /// their order.
    async fn spend(&self, spending: &[Spending], now_ms: u64) -> Result<Vec<u64>, StoreError>;

    /// Hints of changes from now on. A receiver that lags has lost some and must look up anew.
    fn changes(&self) -> broadcast::Receiver<Hint>;
}
