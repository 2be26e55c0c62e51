//! A bare shard, for tests: nothing is behind it, nobody has taken it.

use super::{Shard, Surroundings, input::Taken};
use crate::{
    config::ChatConfig,
    nodes::{Announcements, Placement},
};
use heddle_kit::{Link, ManualClock, Tasks};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// What its clock says, in milliseconds since the Unix epoch.
pub(super) const NOW_MS: u64 = 1_000_000;

/// The one shard of a node.
pub(super) fn shard() -> Shard {
    let around = Surroundings {
        config: Arc::new(ChatConfig::default()),
        clock: ManualClock::at(NOW_MS),
        tasks: Tasks::new("test"),
        history: Link::local(Routes::default()).into(),
        peers: vec![mpsc::channel(1).0],
        own: mpsc::channel(1).0,
        placement: watch::channel(Arc::new(Placement::alone(1))).1,
        renew: Arc::default(),
        announcements: Announcements::new(1),
        ending: CancellationToken::new(),
    };
    Shard::new(0, around)
}

/// It is placed here, and taken.
pub(super) fn take(shard: &mut Shard) {
    let taken = Taken {
        history: 0,
        epoch: 1,
        nonce: 7,
        notes: Vec::new(),
        found: Vec::new(),
    };
    shard.follow();
    shard.taken(taken, &CancellationToken::new());
}
