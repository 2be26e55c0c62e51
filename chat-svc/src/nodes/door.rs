//! Door: a stream of another chat node, as it arrives here.
//!
//! Sorts what is due into the shards' queues; acknowledgements go back on the same stream.
//!
//! Invariant: the reader never waits for a shard. What a full queue does not take is refused, and
//! nothing behind it is taken until its sender begins again; so is what follows a broken stream.

use crate::shard::input::{PeerInput, Reply, ShardQueues};
use heddle_kit::link::{Outbox, OutboxOptions, outbox};
use heddle_proto::{
    ids::LogId,
    internal::{FanOut, FanOutAck, LiveNode, PeerMark, PeerRequest, PeerResponse},
};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

/// A stream of another node.
pub struct PeerDoor {
    queues: Arc<[ShardQueues]>,
    acks: Arc<Outbox<FanOutAck>>,
    renew: Arc<Notify>,
    said: mpsc::Sender<LiveNode>,
    /// Pairs of shards of which everything on this stream was taken.
    whole: HashSet<(u32, u32)>,
}

impl PeerDoor {
    /// A new stream, and the frames that answer it.
    pub fn new(
        queues: Arc<[ShardQueues]>,
        (renew, said): (Arc<Notify>, mpsc::Sender<LiveNode>),
    ) -> (
        Self,
        impl Stream<Item = Result<PeerResponse, Status>> + Send,
    ) {
        let (acks, frames) = outbox(OutboxOptions::default(), |acks| Ok(PeerResponse { acks }));
        let door = Self {
            queues,
            acks: Arc::new(acks),
            renew,
            said,
            whole: HashSet::new(),
        };
        (door, frames)
    }

    /// Reads until the stream or the service ends.
    pub async fn read(mut self, mut frames: Streaming<PeerRequest>, ending: CancellationToken) {
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame,
                () = ending.cancelled() => break,
            };
            match frame {
                Ok(Some(frame)) => self.frame(frame),
                Ok(None) => break,
                Err(status) => {
                    tracing::info!(%status, "a chat node's stream broke");
                    break;
                }
            }
        }
        // Shards may still hold the outbox for what they have not stored yet.
        self.acks.close();
    }

    fn frame(&mut self, frame: PeerRequest) {
        if let Some(standing) = frame.standing {
            // Without room its lease says it, a moment later.
            let _full = self.said.try_send(standing);
        }
        if frame.renew {
            self.renew.notify_one();
        }
        for fan_out in frame.fan_outs {
            self.fan_out(fan_out);
        }
        for mark in frame.marks {
            self.mark(mark);
        }
    }

    fn fan_out(&mut self, fan_out: FanOut) {
        let pair = (fan_out.from_shard, fan_out.to_shard);
        let Some(queues) = self.queues.get(fan_out.to_shard as usize) else {
            return;
        };
        let refused = FanOutAck {
            to_shard: fan_out.from_shard,
            from_shard: fan_out.to_shard,
            id: fan_out.id,
            refused: true,
            ..Default::default()
        };
        let passing = fan_out.ephemeral.is_some();
        let taken = (passing || fan_out.restart || self.whole.contains(&pair)) && {
            let reply = Reply::There(self.acks.clone());
            let input = PeerInput::FanOut(Arc::new(fan_out), reply);
            queues.peer.try_send(input).is_ok()
        };
        match (passing, taken) {
            (true, _) => {}
            (false, true) => drop(self.whole.insert(pair)),
            (false, false) => {
                self.whole.remove(&pair);
                // Not heard means sent again later.
                let _full = self.acks.try_send(refused);
            }
        }
    }

    fn mark(&self, mark: PeerMark) {
        let log = LogId::from_wire(&mark.conversation_id);
        let shard = log.map(|log| log.shard(self.queues.len() as u32));
        if let Some(queues) = shard.and_then(|shard| self.queues.get(shard as usize)) {
            // Lost here, it is told again with the device's next acknowledgement.
            let _full = queues.peer.try_send(PeerInput::Mark(mark));
        }
    }
}
