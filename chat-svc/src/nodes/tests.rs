//! One node against a history-svc that says what the test wants about leases.

#[path = "stalled_tests.rs"]
mod stalled;

use super::placement::preferred;
use crate::{ChatConfig, ChatService, service::Cluster};
use bytes::Bytes;
use heddle_kit::{Link, LinkOptions, LocalSlot, SystemClock, Tasks};
use heddle_proto::{
    ids::LogId,
    internal::{
        shard_service_client::ShardServiceClient,
        store_service_server::{StoreService, StoreServiceServer},
        *,
    },
    v1::ErrorReason,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, async_trait, service::Routes};

const SHARDS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(10);

/// The other nodes, as leases tell; none: leases are not to be had.
type Others = Arc<Mutex<Option<Vec<LiveNode>>>>;

#[derive(Clone, Default)]
struct History {
    others: Others,
    asked: Arc<Mutex<Vec<LeaseRequest>>>,
    epochs: Arc<Mutex<u64>>,
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Answers each frame with one.
fn answer<Q: Send + 'static, A: Send + 'static>(
    mut frames: Streaming<Q>,
    answer: impl Fn(Q) -> A + Send + 'static,
) -> Result<Response<Answers<A>>, Status> {
    let (answers, stream) = mpsc::channel(1024);
    tokio::spawn(async move {
        while let Some(Ok(frame)) = frames.next().await {
            let _gone = answers.send(Ok(answer(frame))).await;
        }
    });
    Ok(Response::new(ReceiverStream::new(stream)))
}

#[async_trait]
impl StoreService for History {
    type CommitStream = Answers<CommitResponse>;
    type ReadStream = Answers<ReadResponse>;

    async fn commit(
        &self,
        request: Request<Streaming<CommitRequest>>,
    ) -> Result<Response<Self::CommitStream>, Status> {
        answer(request.into_inner(), |frame: CommitRequest| {
            let committed = |commit: &Commit| CommitOutcome {
                id: commit.id,
                status: CommitStatus::Committed as i32,
                ..Default::default()
            };
            let outcomes = frame.commits.iter().map(committed).collect();
            CommitResponse { outcomes }
        })
    }

    async fn read(
        &self,
        request: Request<Streaming<ReadRequest>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        answer(request.into_inner(), |frame: ReadRequest| {
            let nothing = |read: &Read| ReadOutcome {
                id: read.id,
                ..Default::default()
            };
            let outcomes = frame.reads.iter().map(nothing).collect();
            ReadResponse { outcomes }
        })
    }

    async fn take_shards(
        &self,
        request: Request<TakeShardsRequest>,
    ) -> Result<Response<TakeShardsResponse>, Status> {
        let mut epoch = self.epochs.lock().unwrap();
        *epoch += 1;
        let epochs = request.into_inner().shards.iter().map(|_| *epoch).collect();
        Ok(Response::new(TakeShardsResponse { epochs }))
    }

    async fn lease(
        &self,
        request: Request<LeaseRequest>,
    ) -> Result<Response<LeaseResponse>, Status> {
        let lease = request.into_inner();
        let me = LiveNode {
            node: lease.node.clone(),
            incarnation: lease.incarnation,
            address: lease.address.clone(),
            leaving: lease.leaving,
            owned: lease.owned.clone(),
            cut_off: lease.cut_off,
        };
        self.asked.lock().unwrap().push(lease);
        let others = self.others.lock().unwrap().clone();
        let mut nodes = others.ok_or_else(|| Status::unavailable("no leases"))?;
        nodes.push(me);
        Ok(Response::new(LeaseResponse { nodes }))
    }
}

fn other(owned: impl IntoIterator<Item = u32>) -> Option<Vec<LiveNode>> {
    Some(vec![LiveNode {
        node: "other".into(),
        incarnation: 1,
        address: "http://127.0.0.1:9".into(),
        leaving: false,
        cut_off: false,
        owned: owned.into_iter().collect(),
    }])
}

/// A node, its leases, and a gateway's stream to it.
struct Node {
    history: History,
    client: ShardServiceClient<Link>,
    commands: mpsc::Sender<EdgeRequest>,
    frames: Streaming<EdgeResponse>,
    tasks: Tasks,
}

impl Node {
    async fn start(others: Option<Vec<LiveNode>>) -> Self {
        // Long enough for no machine to be slower.
        Self::with_lease(60_000, others).await
    }

    async fn with_lease(lease_ms: u32, others: Option<Vec<LiveNode>>) -> Self {
        let history = History::default();
        *history.others.lock().unwrap() = others;
        let config = ChatConfig {
            node: Some("me".into()),
            shards: SHARDS,
            lease_ms,
            lease_renewal_ms: 20,
            ..Default::default()
        };
        let cluster = Cluster {
            address: "http://127.0.0.1:9".into(),
            link: LinkOptions::default(),
            tls: None,
        };
        let store = Link::local(Routes::new(StoreServiceServer::new(history.clone())));
        let notify = LocalSlot::default().link();
        let (tasks, clock) = (Tasks::new("test"), SystemClock::shared());
        let own = tasks.child("chat");
        let service = ChatService::start_node(config, cluster, store, notify, clock, own);
        service.join();
        let (commands, requests) = mpsc::channel(64);
        let mut client = ShardServiceClient::new(Link::local(service.routes()));
        let frames = client.edge(ReceiverStream::new(requests)).await;
        Self {
            history,
            client,
            commands,
            frames: frames.unwrap().into_inner(),
            tasks,
        }
    }

    fn others(&self, others: Option<Vec<LiveNode>>) {
        *self.history.others.lock().unwrap() = others;
    }

    async fn frame(&mut self) -> EdgeResponse {
        let frame = timeout(PATIENCE, self.frames.message()).await;
        frame.expect("nothing comes").unwrap().unwrap()
    }

    /// Waits until the node announces what `wanted` accepts.
    async fn announces(&mut self, wanted: impl Fn(&BTreeSet<u32>) -> bool) -> BTreeSet<u32> {
        loop {
            let Some(map) = self.frame().await.shard_map else {
                continue;
            };
            assert_eq!(map.shard_count, SHARDS);
            let owned = map.owned.into_iter().collect();
            if wanted(&owned) {
                return owned;
            }
        }
    }

    /// Asks something of a shard; the answer.
    async fn asks(&mut self, shard: u32, id: u64) -> command_result::Outcome {
        let named = (0u32..).map(|number| format!("user {number}"));
        let on_shard = |user: &String| LogId::mailbox(user).shard(SHARDS) == shard;
        let user_id = named.into_iter().find(on_shard).unwrap();
        let command = Command {
            id,
            log_id: Bytes::copy_from_slice(LogId::mailbox(&user_id).as_bytes()),
            user_id,
            op: Some(command::Op::Head(HeadCommand::default())),
            ..Default::default()
        };
        let request = EdgeRequest {
            commands: vec![command],
            ..Default::default()
        };
        self.commands.send(request).await.unwrap();
        loop {
            let results = self.frame().await.results;
            if let Some(result) = results.into_iter().find(|result| result.id == id) {
                return result.outcome.unwrap();
            }
        }
    }
}

fn is_changing(outcome: &command_result::Outcome) -> bool {
    matches!(outcome, command_result::Outcome::Error(error)
        if error.reason() == ErrorReason::OwnerChanging)
}

#[tokio::test]
async fn shards_go_to_a_node_that_joins_and_come_back_when_it_is_gone() {
    let mut node = Node::start(Some(Vec::new())).await;
    node.announces(|owned| owned.len() == SHARDS as usize).await;
    assert!(!is_changing(&node.asks(0, 1).await));
    node.others(other([]));
    let kept = node.announces(|owned| owned.len() < SHARDS as usize).await;
    let given: Vec<u32> = (0..SHARDS).filter(|shard| !kept.contains(shard)).collect();
    assert!(!kept.is_empty() && !given.is_empty());
    assert!(is_changing(&node.asks(given[0], 2).await));
    let served = kept.first().copied().unwrap();
    assert!(!is_changing(&node.asks(served, 3).await));
    node.others(Some(Vec::new()));
    node.announces(|owned| owned.len() == SHARDS as usize).await;
    assert!(!is_changing(&node.asks(given[0], 4).await));
    node.tasks.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_shard_that_another_holds_is_not_taken_until_it_is_released() {
    let mut node = Node::start(other(0..SHARDS)).await;
    let asked = node.history.asked.clone();
    while asked.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*node.history.epochs.lock().unwrap(), 0, "nothing is taken");
    node.others(other([]));
    let owned = node.announces(|owned| !owned.is_empty()).await;
    assert!(owned.len() < SHARDS as usize);
    node.tasks.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_shard_is_taken_when_its_owner_says_that_it_is_free() {
    let mut node = Node::start(other(0..SHARDS)).await;
    let asked = node.history.asked.clone();
    while asked.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*node.history.epochs.lock().unwrap(), 0, "nothing is taken");
    let standing = other([]).unwrap().remove(0);
    let (peer, frames) = mpsc::channel(1);
    let said = PeerRequest {
        standing: Some(standing),
        ..Default::default()
    };
    peer.send(said).await.unwrap();
    let answers = node.client.peer(ReceiverStream::new(frames)).await;
    // Its lease goes on to say that it holds them all.
    let owned = node.announces(|owned| !owned.is_empty()).await;
    assert!(owned.len() < SHARDS as usize);
    drop(answers);
    node.tasks.drain(PATIENCE).await;
}

#[tokio::test]
async fn shards_are_taken_as_their_owner_gives_them_a_few_at_a_time() {
    let mut node = Node::start(other(0..SHARDS)).await;
    let (peer, frames) = mpsc::channel(1);
    let answers = node.client.peer(ReceiverStream::new(frames)).await;
    let mine = |shard: &u32| preferred(&["me", "other"], *shard) == Some("me");
    let mine: Vec<u32> = (0..SHARDS).filter(mine).collect();
    for given in 1..=mine.len() {
        let left = (0..SHARDS).filter(|shard| !mine[..given].contains(shard));
        let said = PeerRequest {
            standing: other(left).unwrap().pop(),
            ..Default::default()
        };
        peer.send(said).await.unwrap();
        node.announces(|owned| owned.len() == given).await;
    }
    drop(answers);
    node.tasks.drain(PATIENCE).await;
}

#[tokio::test]
async fn without_a_lease_nothing_is_served() {
    let mut node = Node::with_lease(300, Some(Vec::new())).await;
    node.announces(|owned| owned.len() == SHARDS as usize).await;
    node.others(None);
    node.announces(BTreeSet::is_empty).await;
    assert!(is_changing(&node.asks(0, 1).await));
    node.others(Some(Vec::new()));
    node.announces(|owned| owned.len() == SHARDS as usize).await;
    node.tasks.drain(PATIENCE).await;
}

#[tokio::test]
async fn who_is_cut_off_from_gateways_gives_its_shards_away() {
    let mut node = Node::start(other([])).await;
    node.announces(|owned| !owned.is_empty()).await;
    let hello = EdgeRequest {
        gateway_id: "one".into(),
        generation: 1,
        ..Default::default()
    };
    node.commands.send(hello).await.unwrap();
    node.asks(0, 1).await;
    node.commands = mpsc::channel(1).0;
    let asked = node.history.asked.clone();
    let gives = async {
        let gave = |asked: &LeaseRequest| asked.cut_off && asked.owned.is_empty();
        while !asked.lock().unwrap().last().is_some_and(gave) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gives).await.expect("it keeps them");
    node.tasks.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_node_that_drains_says_so_and_releases_before_it_ends() {
    let mut node = Node::start(Some(Vec::new())).await;
    node.announces(|owned| owned.len() == SHARDS as usize).await;
    node.others(other(0..SHARDS));
    let tasks = node.tasks.clone();
    let drained = tokio::spawn(async move { tasks.drain(PATIENCE).await });
    node.announces(BTreeSet::is_empty).await;
    assert_eq!(drained.await.unwrap(), 0, "no task had to be aborted");
    let asked = node.history.asked.lock().unwrap();
    let last = asked.last().unwrap();
    assert!(last.leaving && last.owned.is_empty() && last.ttl_ms == 0);
}
