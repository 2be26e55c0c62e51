//! The service's edge: streams of gateways and of other chat nodes, and the tasks behind them.
//!
//! A stream's reader only sorts commands into shards' queues; over a bound it answers at once, it
//! never waits (DESIGN 3).

use crate::{
    config::ChatConfig,
    gateways::{Gateways, Stream as GatewayStream},
    nodes::{Announcements, Keeper, Me, Placement, door::PeerDoor, peers::Peers},
    notify_link,
    shard::{
        Shard, Surroundings,
        edges::{Edge, EdgeFrames},
        input::{EdgeInput, ShardQueues, queues},
    },
    store_link,
};
use heddle_kit::{AnyOf, LinkOptions, SharedClock, Tasks, health::Health, tls::ClientTls};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        Command, EdgeRequest, EdgeResponse, LiveNode, PeerRequest, PeerResponse,
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
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, service::Routes};

/// The largest frame taken from a gateway, in bytes.
pub const EDGE_FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What other nodes have said and the lease's keeper has not heard yet, at most; beyond that it
/// waits for their leases.
const SAID_LEN_MAX: usize = 64;

/// chat-svc: order and fan-out.
#[derive(Clone)]
pub struct ChatService {
    shards: Arc<[ShardQueues]>,
    tasks: Tasks,
    next_edge: Arc<AtomicU64>,
    gateways: Arc<Gateways>,
    announcements: Arc<Announcements>,
    placement: Arc<watch::Sender<Arc<Placement>>>,
    renew: Arc<Notify>,
    said: mpsc::Sender<LiveNode>,
    joined: CancellationToken,
}

/// What is around a node that shares the shards with others.
pub struct Cluster {
    /// Where other nodes reach this one.
    pub address: String,
    /// How other nodes are reached.
    pub link: LinkOptions,
    /// What they are shown and checked with; none in the clear.
    pub tls: Option<ClientTls>,
}

impl ChatService {
    /// Starts all shards on this node, over links to history-svc and notify-svc: one process.
    pub fn start(
        config: ChatConfig,
        history: impl Into<AnyOf>,
        notify: impl Into<AnyOf>,
        clock: SharedClock,
        tasks: Tasks,
    ) -> Self {
        let placement = Placement::alone(config.shard_count());
        let owners = tasks.child("shards");
        let ending = owners.stopping().clone();
        let config = Arc::new(config);
        let links = (history.into(), notify.into());
        Self::begin(&config, placement, links, clock, tasks, (owners, ending))
    }

    /// Starts a node that shares the shards with others, by leases, from [`ChatService::join`] on.
    pub fn start_node(
        config: ChatConfig,
        cluster: Cluster,
        history: impl Into<AnyOf>,
        notify: impl Into<AnyOf>,
        clock: SharedClock,
        tasks: Tasks,
    ) -> Self {
        let (config, history) = (Arc::new(config), history.into());
        let nobody = Placement::nobody(0, config.shard_count(), false);
        let (owners, ending) = (tasks.child("shards"), CancellationToken::new());
        let links = (history.clone(), notify.into());
        let incarnation = clock.now_ms();
        let shards = (owners.clone(), ending.clone());
        let (said, heard) = mpsc::channel(SAID_LEN_MAX);
        let service = Self {
            said,
            ..Self::begin(&config, nobody, links, clock, tasks.clone(), shards)
        };
        let (queues, renew) = (service.shards.clone(), service.renew.clone());
        let me = Me {
            node: config
                .node
                .clone()
                .unwrap_or_else(|| cluster.address.clone()),
            incarnation,
            address: cluster.address,
        };
        let keeper = Keeper {
            config,
            history: history.apart(),
            me,
            peers: Peers::new((cluster.link, cluster.tls), queues, renew, tasks),
            owned: service.announcements.watch(),
            gateways: service.gateways.streams(),
            heard,
            placement: service.placement.clone(),
            renew: service.renew.clone(),
        };
        let (stopping, joined) = (owners.stopping().clone(), service.joined.clone());
        owners.spawn("lease-keeper", async move {
            tokio::select! {
                () = joined.cancelled() => keeper.run(stopping, ending).await,
                () = stopping.cancelled() => ending.cancel(),
            }
        });
        service
    }

    /// Others can reach this node: from now on it wants shards. Who gives it some tells it so.
    pub fn join(&self) {
        self.joined.cancel();
    }

    /// Tells `health` whether this node has, or may be given, shards: while it holds its lease.
    pub fn watch_health(&self, health: Health, tasks: &Tasks) {
        let (mut placement, stopping) = (self.placement.subscribe(), tasks.stopping().clone());
        tasks.spawn("health", async move {
            loop {
                let ready = placement.borrow_and_update().holds_lease();
                health.tell(&[crate::start::SERVICE], ready).await;
                tokio::select! {
                    () = stopping.cancelled() => return health.not_serving().await,
                    changed = placement.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    fn begin(
        config: &Arc<ChatConfig>,
        placement: Placement,
        (history, notify): (AnyOf, AnyOf),
        clock: SharedClock,
        tasks: Tasks,
        // Drained before the links: what a shard has under way comes back over them.
        (owners, ending): (Tasks, CancellationToken),
    ) -> Self {
        let shard_count = config.shard_count();
        let (shards, inputs): (Vec<_>, Vec<_>) = (0..shard_count)
            .map(|_| queues(config.queue_len_max, config.reads_per_shard()))
            .unzip();
        let service = Self {
            shards: shards.into(),
            tasks,
            next_edge: Arc::new(AtomicU64::new(1)),
            gateways: Arc::default(),
            announcements: Announcements::new(shard_count),
            placement: Arc::new(watch::Sender::new(Arc::new(placement))),
            renew: Arc::default(),
            // Nobody listens where a node is alone.
            said: mpsc::channel(1).0,
            joined: CancellationToken::new(),
        };
        let peers: Vec<_> = service
            .shards
            .iter()
            .map(|queues| queues.peer.clone())
            .collect();
        for ((index, queues), inputs) in (0..).zip(service.shards.iter()).zip(inputs) {
            let around = Surroundings {
                config: config.clone(),
                clock: clock.clone(),
                tasks: owners.clone(),
                history: history.clone(),
                peers: peers.clone(),
                own: queues.store.clone(),
                placement: service.placement.subscribe(),
                renew: service.renew.clone(),
                announcements: service.announcements.clone(),
                ending: ending.clone(),
            };
            let shard = Shard::new(index, around);
            owners.spawn("shard", shard.run(inputs));
        }
        service.start_links(history, notify);
        service
    }

    fn start_links(&self, history: AnyOf, notify: AnyOf) {
        let stores: Vec<_> = self
            .shards
            .iter()
            .map(|queues| queues.store.clone())
            .collect();
        let tasks = &self.tasks;
        let store = store_link::run(history, stores.clone(), tasks.clone());
        tasks.spawn("store-link", store);
        let notify = notify_link::run(notify, stores, tasks.clone());
        tasks.spawn("notify-link", notify);
        let announcing = self.announcements.clone().run(tasks.stopping().clone());
        tasks.spawn("announcements", announcing);
    }

    /// The gRPC routes.
    pub fn routes(&self) -> Routes {
        let server = ShardServiceServer::new(self.clone())
            .max_decoding_message_size(EDGE_FRAME_BYTES_MAX)
            .max_encoding_message_size(EDGE_FRAME_BYTES_MAX);
        Routes::new(server)
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

    /// Takes a frame, unless a newer stream of the same gateway has begun; false then.
    fn take(
        &self,
        edge: &Arc<Edge>,
        stream: &mut Option<GatewayStream>,
        frame: EdgeRequest,
    ) -> bool {
        if stream.is_none() {
            *stream = self.gateways.begin(&frame.gateway_id, frame.generation);
        }
        stream
            .as_ref()
            .is_some_and(|stream| stream.pass(|| self.dispatch(edge, frame.commands)))
    }

    async fn read_edge(self, edge: Arc<Edge>, mut frames: Streaming<EdgeRequest>) {
        let mut stream = None;
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame,
                () = self.tasks.stopping().cancelled() => break,
            };
            match frame {
                Ok(Some(frame)) => {
                    if !self.take(&edge, &mut stream, frame) {
                        tracing::info!(edge = edge.id, "the gateway has begun a newer stream");
                        break;
                    }
                }
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
        self.announcements.add(&edge);
        let reader = self.clone().read_edge(edge, request.into_inner());
        self.tasks.spawn_contained("edge-reader", reader);
        let frames = futures_util::StreamExt::map(frames, Ok);
        Ok(Response::new(Box::pin(frames)))
    }

    async fn peer(
        &self,
        request: Request<Streaming<PeerRequest>>,
    ) -> Result<Response<Self::PeerStream>, Status> {
        let hints = (self.renew.clone(), self.said.clone());
        let (door, frames) = PeerDoor::new(self.shards.clone(), hints);
        let reading = door.read(request.into_inner(), self.tasks.stopping().clone());
        self.tasks.spawn_contained("peer-reader", reading);
        Ok(Response::new(Box::pin(frames)))
    }
}
