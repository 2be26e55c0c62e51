//! Sending: what waits for other shards leaves, to a queue of this node or a stream to another.
//!
//! Invariant: nothing waits for a node: what its stream does not take now is sent again, fan-outs
//! from `outbound`, marks with a later tick (bounded). Only for queues of this node it waits
//! here, in order.

use super::{
    Shard,
    input::{PeerInput, Reply},
    outbound::{RESEND_AWAY_MS, RESEND_HERE_MS},
    ownership::Phase,
};
use crate::nodes::{
    Target,
    peers::{PeerItem, PeerNode},
};
use heddle_proto::internal::PeerMark;
use tokio::sync::mpsc::error::TrySendError;

impl Shard {
    /// Passes on what waits for other shards, as far as their queues have room.
    pub(super) fn send_unsent(&mut self) {
        while let Some((shard, input)) = self.unsent.pop_front() {
            // Acknowledgements in this queue are for shards of this node, wherever they belong now.
            let target = match &input {
                PeerInput::Acks(_) => Target::Here,
                _ => self.target(shard),
            };
            match target {
                Target::Here => {
                    let Some(peer) = self.around.peers.get(shard as usize) else {
                        continue;
                    };
                    if let Err(TrySendError::Full(input)) = peer.try_send(input) {
                        self.unsent.push_front((shard, input));
                        return;
                    }
                }
                Target::There(node) => self.send_away(shard, &node, input),
                Target::Nowhere => self.not_sent(shard, input),
            }
        }
    }

    fn send_away(&mut self, shard: u32, node: &PeerNode, input: PeerInput) {
        let taken = match &input {
            PeerInput::FanOut(fan_out, _) => {
                let tracked = fan_out.ephemeral.is_none();
                if tracked && self.outbound.is_stalled(shard) {
                    return;
                }
                node.send(PeerItem::FanOut(Box::new(fan_out.as_ref().clone())))
            }
            PeerInput::Mark(mark) => node.send(PeerItem::Mark(mark.clone())),
            PeerInput::Acks(_) => true,
        };
        if !taken {
            self.not_sent(shard, input);
        }
    }

    fn not_sent(&mut self, shard: u32, input: PeerInput) {
        match input {
            PeerInput::FanOut(fan_out, _) => {
                let at_ms = self.now_ms() + RESEND_AWAY_MS;
                self.outbound.stall(shard, fan_out.id, at_ms);
            }
            PeerInput::Mark(mark) => self.later(shard, mark),
            PeerInput::Acks(_) => {}
        }
    }

    /// A mark that finds no owner goes again with the next tick, to where its conversation is then.
    fn later(&mut self, shard: u32, mark: PeerMark) {
        if self.late.len() < self.around.config.waiting_max {
            self.late.push((shard, mark));
        }
    }

    /// Whether a tick has something to do. A node has a task for each shard of the cluster: one of
    /// another's costs it nothing once all that came here for it is on its way there.
    pub(super) fn needs_ticks(&self) -> bool {
        let owes_fan_outs = self.outbound.len() > 0 || !self.unsent.is_empty();
        let owes_marks = !self.late.is_empty() || !self.held_marks.is_empty();
        !matches!(self.phase, Phase::Away) || owes_fan_outs || owes_marks
    }

    /// Sends again what was not acknowledged in time.
    pub(super) fn send_again(&mut self) {
        if !self.belongs_here() {
            let marks = self.give_held_marks();
            self.late.extend(marks.map(|mark| (self.index, mark)));
        }
        let late = self.late.drain(..);
        let late = late.map(|(shard, mark)| (shard, PeerInput::Mark(mark)));
        self.unsent.extend(late);
        let place = self.place.clone();
        let patience = |shard| match place.is_here(shard) {
            true => RESEND_HERE_MS,
            false => RESEND_AWAY_MS,
        };
        for (shard, again) in self.outbound.due(self.turn_ms, patience) {
            tracing::debug!(from = self.index, shard, count = again.len(), "sent again");
            self.unsent
                .retain(|(to, input)| *to != shard || input.outlives_owner());
            for mut fan_out in again {
                self.blank_sent(&mut fan_out);
                let input = PeerInput::FanOut(fan_out, Reply::Here);
                self.unsent.push_back((shard, input));
            }
        }
    }
}
