//! A chat node that reads nothing: what is for it is refused beyond a bound, and all else goes on.

use crate::{
    Gateway, GatewayOptions, Links,
    doubles::{
        World,
        chat::Chat,
        device::{Device, text},
        presence::Presence,
        store::Store,
        until,
    },
};
use bytes::Bytes;
use heddle_kit::{Link, link::outbox::OUTBOX_BYTES_MAX};
use heddle_proto::{
    ids::LogId,
    internal::{
        AppendResult, CommandResult, EdgeRequest, EdgeResponse, PeerRequest, PeerResponse,
        ShardMap,
        command_result::Outcome as Word,
        presence_link_service_server::PresenceLinkServiceServer,
        shard_service_server::{ShardService, ShardServiceServer},
        store_service_server::StoreServiceServer,
    },
    v1::{self, ErrorReason, open_session_request::Frame as Up, result::Outcome},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait, service::Routes};

/// The shard of the node that does not read; the other one is served.
const UNREAD: u32 = 1;
const SERVED: u32 = 0;
const TEXT_BYTES: usize = 90_000;
/// More than may wait for one node.
const SENDS: u64 = 120;

/// A chat node that reads nothing until it is told to, and then stores all.
#[derive(Clone, Default)]
struct Stalled {
    reads: CancellationToken,
}

type Frames<T> = ReceiverStream<Result<T, Status>>;

async fn store_all(
    mut frames: Streaming<EdgeRequest>,
    answers: mpsc::Sender<Result<EdgeResponse, Status>>,
) {
    let mut seq = 0;
    while let Ok(Some(frame)) = frames.message().await {
        let mut results = Vec::new();
        for command in frame.commands {
            seq += 1;
            let stored = Word::Append(AppendResult { seq, time_ms: 1 });
            results.push(CommandResult {
                id: command.id,
                outcome: Some(stored),
            });
        }
        let frame = EdgeResponse {
            results,
            ..Default::default()
        };
        let _gone = answers.send(Ok(frame)).await;
    }
}

#[async_trait]
impl ShardService for Stalled {
    type EdgeStream = Frames<EdgeResponse>;
    type PeerStream = Frames<PeerResponse>;

    async fn edge(
        &self,
        request: Request<Streaming<EdgeRequest>>,
    ) -> Result<Response<Self::EdgeStream>, Status> {
        let (answers, stream) = mpsc::channel(1024);
        let map = ShardMap {
            shard_count: 2,
            owned: vec![UNREAD],
        };
        let first = EdgeResponse {
            shard_map: Some(map),
            ..Default::default()
        };
        answers.try_send(Ok(first)).unwrap();
        let (reads, frames) = (self.reads.clone(), request.into_inner());
        tokio::spawn(async move {
            reads.cancelled().await;
            store_all(frames, answers).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn peer(
        &self,
        _: Request<Streaming<PeerRequest>>,
    ) -> Result<Response<Self::PeerStream>, Status> {
        Err(Status::unimplemented("no peers here"))
    }
}

/// A gateway with two nodes, of which one does not read.
async fn half_stalled() -> (World, Stalled) {
    let mut options = GatewayOptions::default();
    let mut world = World::with(|given| {
        given.limits.in_flight_max = 2 * SENDS as u32;
        options = given.clone();
    })
    .await;
    // In the place of the one that the world came with, in front of the same device.
    let (chat, stalled) = (Chat::default(), Stalled::default());
    chat.own(&[SERVED]).await;
    let store = Routes::new(StoreServiceServer::new(Store::default()));
    let presence = Routes::new(PresenceLinkServiceServer::new(Presence::default()));
    let links = Links {
        shards: vec![
            Link::local(Routes::new(ShardServiceServer::new(stalled.clone()))),
            Link::local(Routes::new(ShardServiceServer::new(chat.clone()))),
        ],
        history: Link::local(store).into(),
        presence: Link::local(presence).into(),
    };
    let tasks = world.tasks.child("another gateway");
    let gateway = Gateway::new(options, links, world.clock.clone(), &tasks).unwrap();
    until("the shards are announced", || gateway.is_ready()).await;
    world.link = Link::local(gateway.routes().unwrap());
    (world.chat, world.gateway) = (chat, gateway);
    (world, stalled)
}

/// A user whose mailbox is served.
fn user(name: &str) -> String {
    let mut users = (0..).map(|number: u32| format!("{name} {number}"));
    let served = |user: &String| LogId::mailbox(user).shard(2) == SERVED;
    users.find(served).unwrap()
}

/// A send to a conversation on one of the shards.
fn send(world: &World, shard: u32, bytes: usize) -> Up {
    let conversation = [8 + shard as u8; 16];
    assert_eq!(LogId::from_wire(&conversation).unwrap().shard(2), shard);
    Up::Send(v1::SendMessageRequest {
        conversation_id: Bytes::copy_from_slice(&conversation),
        ..text(world, &"x".repeat(bytes))
    })
}

/// The next answer, which is that a message is stored: to which request, and its seq.
async fn stored(device: &mut Device) -> (u64, u64) {
    let (request_id, outcome) = device.result().await;
    let Ok(Outcome::Send(sent)) = outcome else {
        panic!("{request_id}: {outcome:?}")
    };
    (request_id, sent.seq)
}

/// Sends to a node that does not read wait up to a bound; those beyond it are refused at once and
/// nothing of them is taken. The same session, and others, are served by the other node meanwhile.
/// Once it reads, what waited is stored in order.
#[tokio::test]
async fn a_node_that_does_not_read_has_sends_refused_beyond_a_bound_and_another_serves_on() {
    let (world, stalled) = half_stalled().await;
    let (mut device, _) = Device::open(&world, &user("ann")).await;
    for request_id in 1..=SENDS {
        device
            .send(request_id, send(&world, UNREAD, TEXT_BYTES))
            .await;
    }
    device.send(SENDS + 1, send(&world, SERVED, 1)).await;
    let mut refused = Vec::new();
    loop {
        match device.result().await {
            (request_id, Err(error)) => {
                assert_eq!(error.reason(), ErrorReason::Overloaded);
                assert!(error.retry_delay.is_some());
                refused.push(request_id);
            }
            (request_id, outcome) => {
                assert_eq!(request_id, SENDS + 1, "{outcome:?}");
                break;
            }
        }
    }
    let waiting: Vec<u64> = (1..=SENDS).filter(|id| !refused.contains(id)).collect();
    let bytes = waiting.len() * TEXT_BYTES;
    assert!(bytes > 0 && bytes <= OUTBOX_BYTES_MAX, "{bytes}");
    let (mut other, _) = Device::open(&world, &user("bob")).await;
    other.send(1, send(&world, SERVED, 1)).await;
    assert_eq!(stored(&mut other).await.0, 1);
    stalled.reads.cancel();
    for (seq, request_id) in (1..).zip(&waiting) {
        assert_eq!(stored(&mut device).await, (*request_id, seq), "in order");
    }
    device.send(SENDS + 2, send(&world, UNREAD, 1)).await;
    let next = waiting.len() as u64 + 1;
    assert_eq!(stored(&mut device).await, (SENDS + 2, next));
}
