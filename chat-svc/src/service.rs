//! The service's edge: streams of gateways and of other chat nodes, and the tasks behind them.
//!
//! A stream's reader only sorts commands into shards' queues; over a bound it answers at once, it
//! never waits (DESIGN 3).

use crate::{
    config::ChatConfig,
    notify_link,
    shard::{
        Shard, Surroundings,
        edges::{Edge, EdgeFrames},
        input::{EdgeInput, PeerInput, ShardQueues, queues},
    },
    store_link,
};
use heddle_kit::{Link, SharedClock, Tasks};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        Command, EdgeRequest, EdgeResponse, PeerRequest, PeerResponse, ShardMap,
        shard_service_server::{ShardService, ShardServiceServer},
    },
    v1::ErrorReason,
};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, service::Routes};

/// The largest frame taken from a gateway, in bytes.
pub const EDGE_FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// chat-svc: order and fan-out.
#[derive(Clone)]
pub struct ChatService {
    shards: Arc<[ShardQueues]>,
    tasks: Tasks,
    next_edge: Arc<AtomicU64>,
}

impl ChatService {
    /// Starts the shards of this node over links to history-svc and notify-svc.
    pub fn start(
        config: ChatConfig,
        history: Link,
        notify: Link,
        clock: SharedClock,
        tasks: Tasks,
    ) -> Self {
        let config = Arc::new(config);
        let (shards, inputs): (Vec<_>, Vec<_>) = (0..config.shard_count())
            .map(|_| queues(config.queue_len_max, config.reads_per_shard()))
            .unzip();
        let peers: Vec<_> = shards.iter().map(|queues| queues.peer.clone()).collect();
        // Drained before the links: what a shard has under way comes back over them.
        let owners = tasks.child("shards");
        for ((index, queues), inputs) in (0..).zip(&shards).zip(inputs) {
            let around = Surroundings {
                config: config.clone(),
                clock: clock.clone(),
                tasks: owners.clone(),
                history: history.clone(),
                peers: peers.clone(),
                own: queues.store.clone(),
            };
            owners.spawn("shard", Shard::new(index, around).run(inputs));
        }
        let stores: Vec<_> = shards.iter().map(|queues| queues.store.clone()).collect();
        tasks.spawn(
            "store-link",
            store_link::run(history, stores.clone(), tasks.clone()),
        );
        tasks.spawn(
            "notify-link",
            notify_link::run(notify, stores, tasks.clone()),
        );
        Self {
            shards: shards.into(),
            tasks,
            next_edge: Arc::new(AtomicU64::new(1)),
        }
    }

    /// The gRPC routes.
    pub fn routes(&self) -> Routes {
        let server = ShardServiceServer::new(self.clone())
            .max_decoding_message_size(EDGE_FRAME_BYTES_MAX)
            .max_encoding_message_size(EDGE_FRAME_BYTES_MAX);
        Routes::new(server)
    }

    fn shard_map(&self) -> ShardMap {
        let shard_count = self.shards.len() as u32;
        ShardMap {
            shard_count,
            owned: (0..shard_count).collect(),
        }
    }

    /// Sorts a frame's commands into the shards' queues, in order.
    fn dispatch(&self, edge: &Arc<Edge>, commands: Vec<Command>) {
        let shard_count = self.shards.len();
        let mut sorted: Vec<Vec<Command>> = vec![Vec::new(); shard_count];
        for command in commands {
            match LogId::from_wire(&command.log_id) {
                Some(log) => sorted[log.shard(shard_count as u32) as usize].push(command),
                None => edge.refuse(command.id, &Fault::field("log_id", "has not 16 bytes")),
            }
        }
        for (queues, commands) in self.shards.iter().zip(sorted) {
            if commands.is_empty() {
                continue;
            }
            let refused = queues
                .edge
                .try_send(EdgeInput::Commands(edge.clone(), commands));
            if let Err(refused) = refused
                && let EdgeInput::Commands(edge, commands) = refused.into_inner()
            {
                let text = "the shard's queue is full; retry the same id after the delay";
                let fault = Fault::new(ErrorReason::Overloaded, text).retry_after(100);
                for command in commands {
                    edge.refuse(command.id, &fault);
                }
            }
        }
    }

    async fn read_edge(self, edge: Arc<Edge>, mut frames: Streaming<EdgeRequest>) {
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame,
                () = self.tasks.stopping().cancelled() => break,
            };
            match frame {
                Ok(Some(frame)) => self.dispatch(&edge, frame.commands),
                Ok(None) => break,
                Err(status) => {
                    tracing::info!(edge = edge.id, %status, "a gateway's stream broke");
                    break;
                }
            }
        }
        for queues in self.shards.iter() {
            // A closed queue belongs to a shard that has drained.
            let _ = queues.edge.send(EdgeInput::Gone(edge.id)).await;
        }
    }

    async fn read_peer(self, mut frames: Streaming<PeerRequest>) {
        while let Ok(Some(frame)) = frames.message().await {
            for fan_out in frame.fan_outs {
                let Some(queues) = self.shards.get(fan_out.to_shard as usize) else {
                    continue;
                };
                // Not acknowledged means sent again by the other node.
                let _full = queues.peer.try_send(PeerInput::FanOut(Box::new(fan_out)));
            }
        }
    }
}

/// A stream of frames, its errors being the stream's end.
type FrameStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ShardService for ChatService {
    type EdgeStream = FrameStream<EdgeResponse>;
    type PeerStream = FrameStream<PeerResponse>;

    async fn edge(
        &self,
        request: Request<Streaming<EdgeRequest>>,
    ) -> Result<Response<Self::EdgeStream>, Status> {
        let (edge, frames): (_, EdgeFrames) =
            Edge::new(self.next_edge.fetch_add(1, Ordering::Relaxed));
        let shard_map = Some(self.shard_map());
        edge.send(EdgeResponse {
            shard_map,
            ..Default::default()
        });
        let reader = self.clone().read_edge(edge, request.into_inner());
        self.tasks.spawn_contained("edge-reader", reader);
        let frames = futures_util::StreamExt::map(frames, Ok);
        Ok(Response::new(Box::pin(frames)))
    }

    async fn peer(
        &self,
        request: Request<Streaming<PeerRequest>>,
    ) -> Result<Response<Self::PeerStream>, Status> {
        self.tasks
            .spawn_contained("peer-reader", self.clone().read_peer(request.into_inner()));
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}
