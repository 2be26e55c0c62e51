//! Gateways as a shard sees them: where answers and deliveries go.
//!
//! A shard gathers what one commit sends to each gateway into one frame ([`EdgeFrames`]); the
//! link's writer may merge frames.
//!
//! Invariant: results are never dropped (their number is bounded by the commands under way);
//! deliveries are, when a gateway's outbox is full: the heartbeat of heads heals that (P8).

use bytes::Bytes;
use heddle_kit::FastMap;
use heddle_kit::link::{Outbox, OutboxOptions, TrySendError, outbox::Frames, outbox::outbox_sized};
use heddle_proto::{
    errors::Fault,
    internal::{
        CommandResult, Delivery, EdgeResponse, Ephemeral, Kick, MailboxHead, command_result,
    },
};
use prost::Message;
use std::sync::Arc;

/// Bytes of frames that may wait for one gateway before deliveries are dropped.
pub const EDGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Frames of results that may wait for one gateway; more than that many commits are never
/// unanswered.
pub const EDGE_FRAMES_MAX: usize = 64 * 1024;
/// Bytes of bodies after which a new frame is begun.
pub const FRAME_BODY_BYTES: usize = 256 * 1024;

/// A gateway's stream.
pub struct Edge {
    /// Unique in this process.
    pub id: u64,
    frames: Outbox<EdgeResponse>,
}

/// The stream of frames to a gateway.
pub type EdgeFrames = Frames<EdgeResponse, fn(Vec<EdgeResponse>) -> EdgeResponse>;

fn size_of(frame: &EdgeResponse) -> usize {
    let bodies: usize = frame.bodies.iter().map(Bytes::len).sum();
    let results: usize = frame.results.iter().map(Message::encoded_len).sum();
    let ephemerals: usize = frame.ephemerals.iter().map(Message::encoded_len).sum();
    let items = frame.deliveries.len() + frame.heads.len();
    bodies + results + ephemerals + items * 48
}

/// Puts frames together, so that a slow moment costs few frames.
fn merge(mut frames: Vec<EdgeResponse>) -> EdgeResponse {
    if frames.len() == 1 {
        return frames.pop().unwrap_or_default();
    }
    let mut merged = EdgeResponse::default();
    for frame in frames {
        let offset = merged.bodies.len() as u32;
        merged.bodies.extend(frame.bodies);
        merged
            .deliveries
            .extend(frame.deliveries.into_iter().map(|mut delivery| {
                delivery.body += offset;
                delivery
            }));
        merged.results.extend(frame.results);
        merged.ephemerals.extend(frame.ephemerals);
        merged.heads.extend(frame.heads);
        merged.kicks.extend(frame.kicks);
        merged.shard_map = frame.shard_map.or(merged.shard_map);
    }
    merged
}

impl Edge {
    /// A gateway's stream: results never wait behind deliveries that were dropped.
    pub fn new(id: u64) -> (Arc<Self>, EdgeFrames) {
        let options = OutboxOptions {
            items_max: EDGE_FRAMES_MAX,
            bytes_max: EDGE_BYTES_MAX,
        };
        let build: fn(Vec<EdgeResponse>) -> EdgeResponse = merge;
        let (outbox, frames) = outbox_sized(options, size_of, build);
        let edge = Self { id, frames: outbox };
        (Arc::new(edge), frames)
    }

    /// Sends a frame; over the bound its results go alone. Whether all of it went.
    pub fn send(&self, frame: EdgeResponse) -> bool {
        let Err(TrySendError::Full(frame)) = self.frames.try_send(frame) else {
            return true;
        };
        let EdgeResponse {
            results,
            kicks,
            shard_map,
            ..
        } = frame;
        let rest = EdgeResponse {
            results,
            kicks,
            shard_map,
            ..Default::default()
        };
        // An empty one would take room for as long as nobody reads.
        if rest != EdgeResponse::default() {
            self.frames.send_permitted(rest);
        }
        tracing::warn!(
            edge = self.id,
            "deliveries dropped: the gateway does not keep up"
        );
        false
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// Answers one command at once with a fault.
    pub fn refuse(&self, id: u64, fault: &Fault) {
        if id > 0 {
            let outcome = Some(command_result::Outcome::Error(fault.to_wire()));
            let results = vec![CommandResult { id, outcome }];
            self.send(EdgeResponse {
                results,
                ..Default::default()
            });
        }
    }
}

/// Frames for gateways, being gathered.
#[derive(Default)]
pub struct Gathering {
    frames: FastMap<u64, Gathered>,
}

struct Gathered {
    edge: Arc<Edge>,
    frame: EdgeResponse,
    body_bytes: usize,
    /// By address and length: the frame keeps what they name alive.
    bodies: FastMap<(usize, usize), u32>,
}

impl Gathering {
    fn of(&mut self, edge: &Arc<Edge>) -> &mut Gathered {
        self.frames.entry(edge.id).or_insert_with(|| Gathered {
            edge: edge.clone(),
            frame: EdgeResponse::default(),
            body_bytes: 0,
            bodies: FastMap::default(),
        })
    }

    /// An answer.
    pub fn result(&mut self, edge: &Arc<Edge>, result: CommandResult) {
        self.of(edge).frame.results.push(result);
    }

    /// A delivery with its body; bodies are shared within a frame.
    pub fn delivery(&mut self, edge: &Arc<Edge>, mut delivery: Delivery, body: &Bytes) {
        let gathered = self.of(edge);
        if gathered.body_bytes > FRAME_BODY_BYTES {
            gathered.flush();
        }
        let key = (body.as_ptr().addr(), body.len());
        delivery.body = *gathered.bodies.entry(key).or_insert_with(|| {
            gathered.frame.bodies.push(body.clone());
            gathered.body_bytes += body.len();
            gathered.frame.bodies.len() as u32 - 1
        });
        gathered.frame.deliveries.push(delivery);
    }

    /// Typing or a signal.
    pub fn ephemeral(&mut self, edge: &Arc<Edge>, ephemeral: Ephemeral) {
        self.of(edge).frame.ephemerals.push(ephemeral);
    }

    /// A mailbox's head.
    pub fn head(&mut self, edge: &Arc<Edge>, head: MailboxHead) {
        self.of(edge).frame.heads.push(head);
    }

    /// Sessions that must end.
    pub fn kick(&mut self, edge: &Arc<Edge>, kick: Kick) {
        self.of(edge).frame.kicks.push(kick);
    }

    /// Sends all frames; the gateways that did not get all of theirs.
    pub fn send(self) -> Vec<u64> {
        let frames = self.frames.into_values();
        let lacking = frames.filter_map(|mut gathered| {
            let id = gathered.edge.id;
            (!gathered.flush()).then_some(id)
        });
        lacking.collect()
    }
}

impl Gathered {
    fn flush(&mut self) -> bool {
        self.bodies.clear();
        self.body_bytes = 0;
        self.edge.send(std::mem::take(&mut self.frame))
    }
}

#[cfg(test)]
#[path = "edges_tests.rs"]
mod tests;
