//! A bare shard, for tests: nothing is behind it, nobody has taken it; and bob, who is told
//! things.

use super::{
    Shard, Surroundings,
    input::{PeerInput, Reply, Taken},
    mailboxes::MailboxSlot,
    ownership::Ownership,
};
use crate::{
    config::ChatConfig,
    nodes::{Announcements, Placement},
};
use bytes::Bytes;
use heddle_kit::{Link, ManualClock, Tasks};
use heddle_proto::internal::{FanOut, FanOutEvent, FanOutState, ReadOutcome, Recipient};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// What its clock says, in milliseconds since the Unix epoch.
pub(super) const NOW_MS: u64 = 1_000_000;

/// Under what it is taken.
pub(super) const OWNER: Ownership = Ownership {
    epoch: 1,
    nonce: 7,
    since: 1,
};

/// The conversation that bob is told of.
pub(super) const TALK: [u8; 16] = [5; 16];

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
        epoch: OWNER.epoch,
        nonce: OWNER.nonce,
        notes: Vec::new(),
        found: Vec::new(),
    };
    shard.follow();
    shard.taken(taken, &CancellationToken::new());
}

/// The one shard of a node, taken.
pub(super) fn taken_shard() -> Shard {
    let mut shard = shard();
    take(&mut shard);
    shard
}

/// An event of the conversation for bob, who has always been a member.
pub(super) fn event_for_bob(event: FanOutEvent) -> FanOut {
    let recipient = Recipient {
        user_id: "bob".into(),
        since_seq: 1,
        ..Default::default()
    };
    FanOut {
        restart: true,
        conversation_id: TALK.to_vec().into(),
        recipients: vec![recipient],
        events: vec![event],
        ..Default::default()
    }
}

/// A change of state of the conversation for bob.
pub(super) fn state_for_bob(state: Bytes) -> FanOut {
    let state = FanOutState {
        user_id: "bob".into(),
        state,
    };
    FanOut {
        restart: true,
        conversation_id: TALK.to_vec().into(),
        states: vec![state],
        ..Default::default()
    }
}

/// A fan-out comes to the shard.
pub(super) fn comes(shard: &mut Shard, fan_out: FanOut) {
    shard.on_peer(PeerInput::FanOut(Arc::new(fan_out), Reply::Here));
}

/// What has been read the longest is read as this.
pub(super) fn answer_read(shard: &mut Shard, outcome: ReadOutcome) {
    let id = shard.reads.ids().min().expect("something is being read");
    shard.on_read(ReadOutcome { id, ..outcome });
}

/// Bob's mailbox is loaded: each of its parts is read as empty.
pub(super) fn load_bob(shard: &mut Shard) {
    while let Some(MailboxSlot::Loading(_)) = shard.mailboxes.get("bob") {
        answer_read(shard, ReadOutcome::default());
    }
}
