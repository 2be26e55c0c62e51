//! Peers: one stream to each other chat node, for what is due to shards there.
//!
//! Acknowledgements come back on the same stream and go to the shards that wait for them.
//!
//! Invariant: putting in never waits. What does not fit, or is lost with a stream, is sent again by
//! its shard, since it was not acknowledged.

use crate::{
    shard::input::{PeerInput, ShardQueues},
    store_link::RETRY_DELAY_MS,
};
use futures_util::{StreamExt, stream};
use heddle_kit::{
    Link, LinkOptions, Tasks,
    link::{Outbox, OutboxOptions, outbox::outbox_sized},
    tls::ClientTls,
};
use heddle_proto::internal::{
    FanOut, FanOutAck, LiveNode, PeerMark, PeerRequest, shard_service_client::ShardServiceClient,
};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The largest frame between chat nodes, in bytes.
pub const PEER_FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One item of a frame.
pub enum PeerItem {
    /// Due to mailboxes.
    FanOut(Box<FanOut>),
    /// For a conversation.
    Mark(PeerMark),
    /// How this node stands, whatever its lease says.
    Standing(Box<LiveNode>),
    /// Renew the lease now.
    Renew,
}

/// Another chat node.
pub struct PeerNode {
    outbox: RwLock<Option<Outbox<PeerItem>>>,
    incarnation: u64,
    address: String,
    gone: CancellationToken,
}

impl PeerNode {
    /// Puts an item in; says whether it was taken.
    pub fn send(&self, item: PeerItem) -> bool {
        let outbox = self.outbox.read().unwrap_or_else(PoisonError::into_inner);
        let outbox = outbox.as_ref();
        outbox.is_some_and(|outbox| outbox.try_send(item).is_ok())
    }
}

/// Ends the stream to the node when nobody knows it any more.
impl Drop for PeerNode {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

fn size_of(item: &PeerItem) -> usize {
    match item {
        PeerItem::FanOut(fan_out) => fan_out.encoded_len(),
        PeerItem::Mark(mark) => mark.encoded_len(),
        PeerItem::Standing(standing) => standing.encoded_len(),
        PeerItem::Renew => 2,
    }
}

fn frame(items: Vec<PeerItem>) -> PeerRequest {
    let mut frame = PeerRequest::default();
    for item in items {
        match item {
            PeerItem::FanOut(fan_out) => frame.fan_outs.push(*fan_out),
            PeerItem::Mark(mark) => frame.marks.push(mark),
            PeerItem::Standing(standing) => frame.standing = Some(*standing),
            PeerItem::Renew => frame.renew = true,
        }
    }
    frame
}

/// The other nodes.
pub struct Peers {
    options: LinkOptions,
    tls: Option<ClientTls>,
    queues: Arc<[ShardQueues]>,
    renew: Arc<Notify>,
    tasks: Tasks,
    nodes: BTreeMap<String, Arc<PeerNode>>,
    standing: Arc<RwLock<Option<LiveNode>>>,
}

impl Peers {
    /// Knows nobody yet.
    pub fn new(
        (options, tls): (LinkOptions, Option<ClientTls>),
        queues: Arc<[ShardQueues]>,
        renew: Arc<Notify>,
        tasks: Tasks,
    ) -> Self {
        Self {
            options,
            tls,
            queues,
            renew,
            tasks,
            nodes: BTreeMap::new(),
            standing: Arc::default(),
        }
    }

    /// By name.
    pub fn nodes(&self) -> &BTreeMap<String, Arc<PeerNode>> {
        &self.nodes
    }

    /// These are there now; streams to new ones begin, those to others end.
    pub fn update(&mut self, nodes: &[LiveNode], me: &str) {
        let known = |name: &str| nodes.iter().find(|node| node.node == name);
        self.nodes.retain(|name, peer| {
            known(name).is_some_and(|node| {
                node.incarnation == peer.incarnation && node.address == peer.address
            })
        });
        for node in nodes.iter().filter(|node| node.node != me) {
            if self.nodes.contains_key(&node.node) {
                continue;
            }
            match Link::connect(&node.address, &self.options, self.tls.as_ref()) {
                Ok(link) => {
                    let peer = self.start(node, link);
                    self.nodes.insert(node.node.clone(), peer);
                }
                Err(error) => tracing::error!(node = node.node, %error, "no way to a chat node"),
            }
        }
    }

    fn start(&self, node: &LiveNode, link: Link) -> Arc<PeerNode> {
        let gone = self.tasks.stopping().child_token();
        let peer = Arc::new(PeerNode {
            outbox: RwLock::new(None),
            incarnation: node.incarnation,
            address: node.address.clone(),
            gone: gone.clone(),
        });
        let (queues, renew) = (self.queues.clone(), self.renew.clone());
        let (weak, standing) = (Arc::downgrade(&peer), self.standing.clone());
        let name = node.node.clone();
        self.tasks.spawn_contained("peer-link", async move {
            while !gone.is_cancelled() {
                let (outbox, frames) = outbox_sized(OutboxOptions::default(), size_of, frame);
                let Some(peer) = weak.upgrade() else { return };
                *peer.outbox.write().unwrap_or_else(PoisonError::into_inner) = Some(outbox);
                drop(peer);
                let standing = standing
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                let hello = PeerRequest {
                    renew: true,
                    standing,
                    ..Default::default()
                };
                let ended = tokio::select! {
                    ended = serve_once(link.clone(), hello, frames, &queues) => ended,
                    () = gone.cancelled() => return,
                };
                tracing::info!(name, status = ?ended.err(), "the link to a chat node ended");
                // It may be dead: its lease's end should be seen soon.
                renew.notify_one();
                tokio::select! {
                    () = gone.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(RETRY_DELAY_MS)) => {}
                }
            }
        });
        peer
    }

    /// Others should renew their leases now: something has changed.
    pub fn hint(&self) {
        self.send(|| PeerItem::Renew);
    }

    /// What this node holds, where its lease does not say so yet; those whose stream is still to
    /// come hear it first thing.
    pub fn say(&self, standing: Option<LiveNode>) {
        let said = self.standing.write();
        let mut said = said.unwrap_or_else(PoisonError::into_inner);
        // Once: who hears it looks at it before it does anything else.
        if let Some(standing) = &standing
            && said.as_ref() != Some(standing)
        {
            self.send(|| PeerItem::Standing(Box::new(standing.clone())));
        }
        *said = standing;
    }

    fn send(&self, item: impl Fn() -> PeerItem) {
        for peer in self.nodes.values() {
            // A stream that is still to come begins with the same.
            let _down = peer.send(item());
        }
    }
}

/// One life of the stream.
async fn serve_once(
    link: Link,
    hello: PeerRequest,
    frames: impl futures_util::Stream<Item = PeerRequest> + Send + 'static,
    queues: &[ShardQueues],
) -> Result<(), Status> {
    let mut client = ShardServiceClient::new(link)
        .max_decoding_message_size(PEER_FRAME_BYTES_MAX)
        .max_encoding_message_size(PEER_FRAME_BYTES_MAX);
    let frames = stream::once(async { hello }).chain(frames);
    let mut answers = client.peer(frames).await?.into_inner();
    while let Some(frame) = answers.message().await? {
        let mut sorted: BTreeMap<u32, Vec<FanOutAck>> = BTreeMap::new();
        for ack in frame.acks {
            sorted.entry(ack.to_shard).or_default().push(ack);
        }
        for (shard, acks) in sorted {
            if let Some(queues) = queues.get(shard as usize) {
                // Lost to a full queue means sent again, and acknowledged again.
                let _full = queues.peer.try_send(PeerInput::Acks(acks));
            }
        }
    }
    Err(Status::unavailable("the stream ended"))
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
