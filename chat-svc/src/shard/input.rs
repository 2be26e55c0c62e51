//! What reaches a shard: commands of gateways, answers of the store, fan-outs of other shards.
//!
//! Three bounded queues, so that a flood of commands never stands in the way of answers.

use super::edges::Edge;
use crate::store_link::StoreOutboxes;
use bytes::Bytes;
use heddle_kit::link::Outbox;
use heddle_proto::internal::{
    Command, CommitOutcome, FanOut, FanOutAck, IntentOutcome, NoteRow, PeerMark, PushIntent,
    ReadOutcome,
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Answers of the store that may wait for a shard, beyond the reads it may have under way.
pub const STORE_QUEUE_SPARE: usize = 64;
/// Messages of other shards that may wait for a shard; senders keep what does not fit.
pub const PEER_QUEUE_LEN_MAX: usize = 1024;

/// From a gateway.
pub enum EdgeInput {
    /// Commands, in the order of the stream.
    Commands(Arc<Edge>, Vec<Command>),
    /// The gateway is gone, with its sessions.
    Gone(u64),
}

/// From the store, or about it.
pub enum StoreInput {
    /// New streams.
    Connected(StoreOutboxes),
    /// The streams with this number ended: what was under way on them is unknown.
    Lost(u64),
    /// The epoch was raised where the streams with this number lead.
    Moved {
        /// The new one.
        epoch: u64,
        /// Those streams.
        life: u64,
    },
    /// An epoch was raised for this shard, by the attempt that this token cancels.
    Taken(Taken, CancellationToken),
    /// A commit's outcome.
    Committed(CommitOutcome),
    /// A read's answer.
    Read(Box<ReadOutcome>),
    /// The link to notify-svc is up (or down: `None`).
    Notify(Option<Outbox<PushIntent>>),
    /// A push's outcome.
    Push(IntentOutcome),
}

/// A shard that was taken over.
pub struct Taken {
    /// The epoch that it has now.
    pub epoch: u64,
    /// The nonce of this ownership.
    pub nonce: u64,
    /// Which history-svc raised it.
    pub history: usize,
    /// Logs of this shard that had work open, with the window of the newest note of each.
    pub notes: Vec<(u64, NoteRow)>,
    /// All notes that were found: window, partition and log of each.
    pub found: Vec<(u64, Bytes, Bytes)>,
}

/// From another shard.
pub enum PeerInput {
    /// Due to mailboxes here.
    FanOut(Arc<FanOut>, Reply),
    /// Fan-outs of this shard that are stored.
    Acks(Vec<FanOutAck>),
    /// A device has received messages of a conversation here.
    Mark(PeerMark),
}

/// Where the acknowledgement of a fan-out goes.
#[derive(Clone)]
pub enum Reply {
    /// To a shard of this node.
    Here,
    /// To the node that sent it.
    There(Arc<Outbox<FanOutAck>>),
}

impl PeerInput {
    /// Whether it still makes sense once the shard that sends it is given up: its fan-outs come
    /// again from the next owner.
    pub fn outlives_owner(&self) -> bool {
        match self {
            Self::FanOut(fan_out, _) => fan_out.ephemeral.is_some(),
            Self::Acks(_) | Self::Mark(_) => true,
        }
    }
}

/// The sending ends of a shard's queues.
#[derive(Clone)]
pub struct ShardQueues {
    /// Commands of gateways.
    pub edge: mpsc::Sender<EdgeInput>,
    /// Answers of the store.
    pub store: mpsc::Sender<StoreInput>,
    /// Messages of other shards.
    pub peer: mpsc::Sender<PeerInput>,
}

/// The receiving ends.
pub struct ShardInputs {
    /// Commands of gateways.
    pub edge: mpsc::Receiver<EdgeInput>,
    /// Answers of the store.
    pub store: mpsc::Receiver<StoreInput>,
    /// Messages of other shards.
    pub peer: mpsc::Receiver<PeerInput>,
}

/// The queues of one shard.
pub fn queues(queue_len_max: usize, reads_max: usize) -> (ShardQueues, ShardInputs) {
    let (edge, edge_inputs) = mpsc::channel(queue_len_max);
    let (store, store_inputs) = mpsc::channel(reads_max + STORE_QUEUE_SPARE);
    let (peer, peer_inputs) = mpsc::channel(PEER_QUEUE_LEN_MAX);
    let inputs = ShardInputs {
        edge: edge_inputs,
        store: store_inputs,
        peer: peer_inputs,
    };
    (ShardQueues { edge, store, peer }, inputs)
}
