//! A chat node that stops reading what this one sends it, over sockets.

use super::*;
use crate::shard::input;
use bytes::Bytes;
use heddle_kit::{
    Guarded, LayerOptions, ServeOptions, link::outbox::OUTBOX_BYTES_MAX, serve,
    serve::CONNECTION_WINDOW_BYTES,
};
use heddle_proto::internal::{
    EdgeRequest, EdgeResponse, FanOutEvent, PeerResponse,
    shard_service_server::{ShardService, ShardServiceServer},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Streaming, async_trait, service::Routes};

const PATIENCE: Duration = Duration::from_secs(20);

/// Another chat node, which reads only once it is told to.
#[derive(Clone, Default)]
struct Other {
    reads: CancellationToken,
    streams: Arc<watch::Sender<usize>>,
    /// Ids of the fan-outs that it has read.
    seen: Arc<watch::Sender<Vec<u64>>>,
}

impl Other {
    /// Serves it; how it is known.
    async fn start(&self, name: &str, tasks: &Tasks) -> LiveNode {
        let routes = Routes::new(ShardServiceServer::new(self.clone()));
        let service = Guarded::new(routes, &LayerOptions::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = serve(listener, None, &ServeOptions::default(), service, tasks).unwrap();
        LiveNode {
            node: name.into(),
            incarnation: 1,
            address: format!("http://{address}"),
            ..Default::default()
        }
    }

    /// Waits until it is linked to.
    async fn linked(&self) {
        let mut streams = self.streams.subscribe();
        let linked = timeout(PATIENCE, streams.wait_for(|streams| *streams > 0)).await;
        drop(linked.expect("nobody links to it").unwrap());
    }

    /// Waits until it has read so many fan-outs; their ids.
    async fn saw(&self, count: usize) -> Vec<u64> {
        let mut seen = self.seen.subscribe();
        let saw = timeout(PATIENCE, seen.wait_for(|seen| seen.len() >= count)).await;
        saw.expect("it has not read them").unwrap().clone()
    }
}

#[async_trait]
impl ShardService for Other {
    type EdgeStream = ReceiverStream<Result<EdgeResponse, Status>>;
    type PeerStream = ReceiverStream<Result<PeerResponse, Status>>;

    async fn edge(
        &self,
        _: Request<Streaming<EdgeRequest>>,
    ) -> Result<Response<Self::EdgeStream>, Status> {
        Err(Status::unimplemented("no gateways here"))
    }

    async fn peer(
        &self,
        request: Request<Streaming<PeerRequest>>,
    ) -> Result<Response<Self::PeerStream>, Status> {
        let (acks, answers) = mpsc::channel(1);
        let (other, mut frames) = (self.clone(), request.into_inner());
        self.streams.send_modify(|streams| *streams += 1);
        tokio::spawn(async move {
            other.reads.cancelled().await;
            while let Ok(Some(frame)) = frames.message().await {
                let ids = frame.fan_outs.iter().map(|fan_out| fan_out.id);
                other.seen.send_modify(|seen| seen.extend(ids));
            }
            drop(acks);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// A frame full.
const ITEM_BYTES: usize = 64 * 1024;
/// Four times what may wait for one node.
const ITEMS: u64 = (4 * OUTBOX_BYTES_MAX / ITEM_BYTES) as u64;
/// What has left the outbox and was not read: far less, since the stream has a window of its own.
const ON_THE_WAY_BYTES: usize = CONNECTION_WINDOW_BYTES as usize;

fn item(id: u64) -> PeerItem {
    let event = FanOutEvent {
        event: Bytes::from_static(&[0; ITEM_BYTES]),
        ..Default::default()
    };
    PeerItem::FanOut(Box::new(FanOut {
        id,
        events: vec![event],
        ..Default::default()
    }))
}

/// What waits for a node that reads nothing is bounded: the rest is given back at once, for its
/// shard to send again. Another node gets all that is for it meanwhile, and once the first one
/// reads again it gets what was taken for it, in order, and what is sent then.
#[tokio::test]
async fn what_a_node_does_not_read_is_refused_beyond_a_bound_and_others_get_all() {
    let tasks = Tasks::new("test");
    let (stalled, other) = (Other::default(), Other::default());
    other.reads.cancel();
    let nodes = [
        stalled.start("stalled", &tasks).await,
        other.start("other", &tasks).await,
    ];
    let queues: Arc<[ShardQueues]> = Arc::from([input::queues(1, 1).0]);
    let link = (LinkOptions::default(), None);
    let mut peers = Peers::new(link, queues, Arc::default(), tasks.clone());
    peers.update(&nodes, "me");
    stalled.linked().await;
    other.linked().await;
    let (to_stalled, to_other) = (&peers.nodes()["stalled"], &peers.nodes()["other"]);
    let mut taken = Vec::new();
    for id in 0..ITEMS {
        if to_stalled.send(item(id)) {
            taken.push(id);
        }
        // The transport takes what it will.
        tokio::task::yield_now().await;
    }
    let bytes = taken.len() * ITEM_BYTES;
    assert!(bytes <= OUTBOX_BYTES_MAX + ON_THE_WAY_BYTES, "{bytes}");
    for id in 0..32 {
        assert!(to_other.send(item(id)), "{id}");
    }
    assert_eq!(other.saw(32).await, (0..32).collect::<Vec<_>>());
    stalled.reads.cancel();
    assert_eq!(stalled.saw(taken.len()).await, taken);
    assert!(to_stalled.send(item(ITEMS)), "there is room again");
    assert_eq!(stalled.saw(taken.len() + 1).await.last(), Some(&ITEMS));
    tasks.drain(PATIENCE).await;
}
