//! Gateways and chat nodes that stop reading: what waits for them is bounded, and everybody else is
//! served.

#[path = "held_up_tests.rs"]
mod held_up;

use super::*;
use crate::shard::edges::EDGE_BYTES_MAX;
use heddle_kit::link::{LINK_ITEMS_MAX, outbox::OUTBOX_ITEMS_MAX};
use heddle_proto::{
    ids::MessageId,
    v1::{ConversationKind, MembershipAction, MembershipChange, Message, Typing, message::Content},
};
use prost::Message as _;
use std::{collections::BTreeMap, ops::Range};

/// Frames of commands that may wait for one shard.
const QUEUE_LEN_MAX: usize = 4;

/// A chat node alone, in front of a history-svc.
fn alone(history: impl StoreService) -> ShardServiceClient<Link> {
    let config = ChatConfig {
        shards: SHARDS,
        queue_len_max: QUEUE_LEN_MAX,
        ..Default::default()
    };
    let history = Link::local(Routes::new(StoreServiceServer::new(history)));
    let (notify, clock) = (LocalSlot::default().link(), SystemClock::shared());
    let service = ChatService::start(config, history, notify, clock, Tasks::new("test"));
    ShardServiceClient::new(Link::local(service.routes()))
}

/// A gateway's stream; nothing is read from it but what a test waits for.
struct Gateway {
    device_id: &'static str,
    commands: mpsc::Sender<EdgeRequest>,
    frames: Streaming<EdgeResponse>,
    asked: u64,
    answers: BTreeMap<u64, command_result::Outcome>,
    /// Events: the position, and how many bytes.
    heard: Vec<(u64, usize)>,
    ephemerals: usize,
}

impl Gateway {
    /// A stream to a node that has all shards.
    async fn link(node: &ShardServiceClient<Link>, device_id: &'static str) -> Self {
        let (commands, requests) = mpsc::channel(64);
        let frames = node.clone().edge(ReceiverStream::new(requests)).await;
        let mut gateway = Self {
            device_id,
            commands,
            frames: frames.unwrap().into_inner(),
            asked: 0,
            answers: BTreeMap::new(),
            heard: Vec::new(),
            ephemerals: 0,
        };
        let all = SHARDS as usize;
        while gateway.read().await.is_none_or(|map| map.owned.len() < all) {}
        gateway
    }

    /// Reads a frame; the map in it.
    async fn read(&mut self) -> Option<ShardMap> {
        let frame = timeout(PATIENCE, self.frames.message()).await;
        let frame = frame.expect("nothing comes").unwrap();
        let frame = frame.expect("the stream has ended");
        for CommandResult { id, outcome } in frame.results {
            let before = self.answers.insert(id, outcome.unwrap());
            assert!(before.is_none(), "{id} is answered twice");
        }
        for delivery in frame.deliveries.iter().filter(|it| !it.state) {
            let body = &frame.bodies[delivery.body as usize];
            self.heard.push((delivery.position, body.len()));
        }
        self.ephemerals += frame.ephemerals.len();
        frame.shard_map
    }

    /// Sends a frame of as many commands about one log; the last one's id.
    async fn asks(&mut self, user_id: &str, log: LogId, op: command::Op, count: u64) -> u64 {
        let command = |id| Command {
            id,
            user_id: user_id.into(),
            device_id: self.device_id.into(),
            log_id: log.to_bytes(),
            op: Some(op.clone()),
        };
        let request = EdgeRequest {
            commands: (1..=count).map(|nth| command(self.asked + nth)).collect(),
            ..Default::default()
        };
        self.commands.send(request).await.unwrap();
        self.asked += count;
        self.asked
    }

    /// Asks for the head of a user's mailbox so many times.
    async fn asks_head(&mut self, user_id: &str, count: u64) -> u64 {
        let op = command::Op::Head(HeadCommand::default());
        self.asks(user_id, LogId::mailbox(user_id), op, count).await
    }

    /// Opens a session of a user.
    async fn attaches(&mut self, user_id: &str) {
        let op = command::Op::Attach(AttachCommand {
            session_id: 1,
            foreground: true,
            ..Default::default()
        });
        let attach = self.asks(user_id, LogId::mailbox(user_id), op, 1).await;
        self.answer(attach).await;
    }

    /// Appends to the conversation of ann and bob.
    async fn appends(&mut self, user_id: &str, kind: append_command::Kind) -> u64 {
        let now_ms = SystemClock::shared().now_ms();
        let append = AppendCommand {
            client_message_id: MessageId::mint(now_ms, &rand::random()).to_bytes(),
            kind: Some(kind),
            ..Default::default()
        };
        let op = command::Op::Append(Box::new(append));
        self.asks(user_id, LogId::direct("ann", "bob"), op, 1).await
    }

    /// Reads until a command is answered.
    async fn answer(&mut self, id: u64) -> command_result::Outcome {
        while !self.answers.contains_key(&id) {
            self.read().await;
        }
        self.answers[&id].clone()
    }

    /// Reads until an append is answered, which is stored.
    async fn stored(&mut self, id: u64) {
        let outcome = self.answer(id).await;
        let stored = matches!(&outcome, command_result::Outcome::Append(it) if it.seq > 0);
        assert!(stored, "{outcome:?}");
    }

    /// Reads until so many events in all have been heard.
    async fn hears(&mut self, count: usize) {
        while self.heard.len() < count {
            self.read().await;
        }
    }
}

fn created() -> append_command::Kind {
    append_command::Kind::Membership(MembershipChange {
        action: MembershipAction::Created.into(),
        user_ids: vec!["ann".into(), "bob".into()],
        conversation_kind: ConversationKind::Direct.into(),
        ..Default::default()
    })
}

fn text(bytes: usize) -> append_command::Kind {
    let message = Message {
        content: Some(Content::Text("x".repeat(bytes))),
        ..Default::default()
    };
    append_command::Kind::Message(message.encode_to_vec().into())
}

/// A text that fills a gateway's outbox soon.
const TEXT_BYTES: usize = 512 * 1024;
/// A quarter more of them than fit.
const TEXTS: usize = EDGE_BYTES_MAX / 4 * 5 / TEXT_BYTES;

/// The sessions of one gateway miss what comes while it does not read; its commands are taken and
/// answered, and another gateway, with another session of the same user, misses nothing.
#[tokio::test]
async fn a_gateway_that_does_not_read_misses_deliveries_beyond_a_bound_and_no_answer() {
    let node = alone(History::default());
    let mut stalled = Gateway::link(&node, "phone").await;
    let mut other = Gateway::link(&node, "tablet").await;
    stalled.attaches("bob").await;
    other.attaches("bob").await;
    let mut count = 0;
    for kind in std::iter::once(created()).chain((0..TEXTS).map(|_| text(TEXT_BYTES))) {
        let sent = other.appends("ann", kind).await;
        other.stored(sent).await;
        count += 1;
        other.hears(count).await;
    }
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.push(stalled.appends("bob", text(1)).await);
        count += 1;
        other.hears(count).await;
    }
    // All that is for it has been put in, or dropped, by now.
    for id in sent {
        stalled.stored(id).await;
    }
    let bytes: usize = stalled.heard.iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes <= EDGE_BYTES_MAX, "{bytes} bytes waited");
    let large = |(_, bytes): &&(u64, usize)| *bytes > TEXT_BYTES;
    let kept = stalled.heard.iter().filter(large).count();
    assert!((1..TEXTS).contains(&kept), "{kept} of {TEXTS}");
    assert_eq!(stalled.heard[..=kept], other.heard[..=kept], "the oldest");
    other.appends("ann", text(1)).await;
    other.hears(count + 1).await;
    while stalled.heard.last() != other.heard.last() {
        stalled.read().await;
    }
}

/// Another chat node's stream; nothing is read from it but what a test waits for.
struct Peer {
    frames: mpsc::Sender<PeerRequest>,
    answers: Streaming<PeerResponse>,
}

impl Peer {
    async fn link(node: &ShardServiceClient<Link>) -> Self {
        let (frames, requests) = mpsc::channel(64);
        let answers = node.clone().peer(ReceiverStream::new(requests)).await;
        Self {
            frames,
            answers: answers.unwrap().into_inner(),
        }
    }

    async fn sends(&self, fan_outs: Vec<FanOut>) {
        let request = PeerRequest {
            fan_outs,
            ..Default::default()
        };
        self.frames.send(request).await.unwrap();
    }

    /// Sends what follows something that was lost: each of it is refused.
    async fn goes_on(&self, ids: Range<u64>) {
        let fan_out = |id| FanOut {
            id,
            ..Default::default()
        };
        self.sends(ids.map(fan_out).collect()).await;
    }

    /// Reads until so many were refused; their ids.
    async fn refused(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let frame = timeout(PATIENCE, self.answers.message()).await;
            let frame = frame.expect("nothing comes").unwrap();
            let acks = frame.expect("the stream has ended").acks;
            assert!(acks.iter().all(|ack| ack.refused));
            ids.extend(acks.iter().map(|ack| ack.id));
        }
        ids
    }
}

fn typing_for(user_id: &str) -> FanOut {
    let recipient = Recipient {
        user_id: user_id.into(),
        ..Default::default()
    };
    let typing = ephemeral_command::Kind::Typing(Typing::default());
    FanOut {
        to_shard: LogId::mailbox(user_id).shard(SHARDS),
        recipients: vec![recipient],
        ephemeral: Some(EphemeralCommand {
            kind: Some(typing),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What a chat node is not told, it sends again; the other one keeps no more than a number of
/// answers for it meanwhile, and answers others.
#[tokio::test]
async fn a_chat_node_that_does_not_read_misses_acknowledgements_beyond_a_bound() {
    let node = alone(History::default());
    let mut gateway = Gateway::link(&node, "phone").await;
    gateway.attaches("bob").await;
    let (mut stalled, mut other) = (Peer::link(&node).await, Peer::link(&node).await);
    let bound = OUTBOX_ITEMS_MAX as u64;
    for first in (0..2 * bound).step_by(LINK_ITEMS_MAX) {
        stalled.goes_on(first..first + LINK_ITEMS_MAX as u64).await;
    }
    // Comes through once all before it has been taken in.
    stalled.sends(vec![typing_for("bob")]).await;
    while gateway.ephemerals == 0 {
        gateway.read().await;
    }
    other.goes_on(7..8).await;
    assert_eq!(other.refused(1).await, [7]);
    let oldest: Vec<u64> = (0..bound).collect();
    assert_eq!(stalled.refused(OUTBOX_ITEMS_MAX).await, oldest);
    stalled.goes_on(3 * bound..3 * bound + 1).await;
    assert_eq!(stalled.refused(1).await, [3 * bound], "nothing in between");
}
