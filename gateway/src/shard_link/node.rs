//! Node: the stream to one chat node, and what happens when it breaks.
//!
//! `frame` handles what comes down. Kept open by `connect`.
//!
//! Invariant: when a stream ends, every command that it carried is held, to be asked of whoever
//! owns its log next. The reader never waits for a session.

use super::ShardLinks;
use crate::{connect, edge::Edge};
use futures_util::{StreamExt, stream};
use heddle_kit::{
    Link, Tasks,
    link::{Opened, Outbox, OutboxOptions, TrySendError, outbox},
};
use heddle_proto::internal::{Command, EdgeRequest, shard_service_client::ShardServiceClient};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// A frame of a shard has a batch's bodies and something around them.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One chat node.
pub struct Node {
    link: Link,
    outbox: RwLock<Option<Outbox<Command>>>,
    /// Of the stream that was begun last.
    generation: AtomicU64,
}

impl Node {
    /// Not connected yet.
    pub fn new(link: Link) -> Self {
        Self {
            link,
            outbox: RwLock::new(None),
            generation: AtomicU64::new(0),
        }
    }

    /// Sends a command, unless too much waits or the stream is down.
    pub fn send(&self, command: Command) -> Result<(), NotSent> {
        let outbox = self.outbox.read().unwrap_or_else(PoisonError::into_inner);
        let outbox = outbox.as_ref().ok_or(NotSent::Closed)?;
        outbox.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => NotSent::Full,
            TrySendError::Closed(_) => NotSent::Closed,
        })
    }
}

/// Why a command did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Too much waits for the node.
    Full,
    /// The stream is down.
    Closed,
}

/// Connects to a node, and stays connected until `stop`.
pub fn start(edge: &Arc<Edge>, tasks: &Tasks, stop: CancellationToken, index: usize) {
    let edge = edge.clone();
    tasks.spawn("shard link", async move {
        let connection = |opened| edge.shards.connection(&edge, index, opened);
        connect::keep("chat", stop, connection).await;
    });
}

impl ShardLinks {
    async fn connection(
        &self,
        edge: &Arc<Edge>,
        index: usize,
        opened: Opened,
    ) -> Result<(), Status> {
        let build = |commands| EdgeRequest {
            commands,
            ..Default::default()
        };
        let (outbox, frames) = outbox(OutboxOptions::default(), build);
        let node = &self.nodes[index];
        let hello = EdgeRequest {
            gateway_id: edge.gateway_id.clone(),
            commands: Vec::new(),
            generation: node.generation.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let frames = stream::once(async { hello }).chain(frames);
        *node.outbox.write().unwrap_or_else(PoisonError::into_inner) = Some(outbox);
        let ended = self.listen(edge, index, frames, opened).await;
        self.disconnected(edge, index);
        ended
    }

    async fn listen(
        &self,
        edge: &Arc<Edge>,
        index: usize,
        frames: impl futures_util::Stream<Item = EdgeRequest> + Send + 'static,
        opened: Opened,
    ) -> Result<(), Status> {
        let mut client = ShardServiceClient::new(self.nodes[index].link.clone())
            .max_decoding_message_size(FRAME_BYTES_MAX);
        let mut answers = client.edge(frames).await?.into_inner();
        opened.tell();
        while let Some(frame) = answers.next().await {
            self.frame(edge, index, frame?);
        }
        Ok(())
    }

    fn disconnected(&self, edge: &Edge, index: usize) {
        let outbox = self.nodes[index]
            .outbox
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(outbox) = outbox {
            outbox.close();
        }
        self.routes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .lose(index);
        let asked = self.table().of_node(index);
        for id in asked {
            self.hold(edge, id);
        }
    }
}
