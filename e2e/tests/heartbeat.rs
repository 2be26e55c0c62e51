//! The heartbeat of heads: a gateway that has lost a delivery, the last one even, hears of it (P8).
//!
//! The test is the gateway here, since only a gateway can lose a delivery: it attaches a session to
//! a chat node of its own over the internal protocol and forgets what comes.

use heddle_chat::{ChatConfig, ChatService};
use heddle_e2e::{wait::PATIENCE, wire::mint, world::Failure};
use heddle_history::{HistoryConfig, HistoryService};
use heddle_kit::{Link, SystemClock, Tasks, link::LocalSlot};
use heddle_proto::{
    ids::LogId,
    internal::{
        AppendCommand, AttachCommand, Command, EdgeRequest, EdgeResponse, append_command,
        command::Op, shard_service_client::ShardServiceClient,
    },
    v1,
};
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const SESSION_ID: u64 = 7;
/// How often the node tells heads here, in milliseconds.
const HEADS_INTERVAL_MS: u64 = 50;
/// How long the node may take to drain.
const GRACE: Duration = Duration::from_secs(5);

/// A gateway's stream to a chat node.
struct Gateway {
    up: mpsc::Sender<EdgeRequest>,
    down: Streaming<EdgeResponse>,
}

impl Gateway {
    async fn connect(chat: Link) -> Result<Self, Failure> {
        let (up, frames) = mpsc::channel(16);
        let hello = EdgeRequest {
            gateway_id: "test".into(),
            ..Default::default()
        };
        up.send(hello).await?;
        let mut client = ShardServiceClient::new(chat);
        let down = client.edge(ReceiverStream::new(frames)).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn ask(&self, id: u64, user_id: &str, log: LogId, op: Op) -> Result<(), Failure> {
        let command = Command {
            id,
            user_id: user_id.to_owned(),
            device_id: "phone".to_owned(),
            log_id: log.to_bytes(),
            op: Some(op),
        };
        let frame = EdgeRequest {
            commands: vec![command],
            ..Default::default()
        };
        Ok(self.up.send(frame).await?)
    }

    /// The next frame that `wanted` picks something from.
    async fn until<T>(
        &mut self,
        wanted: impl Fn(&EdgeResponse) -> Option<T>,
    ) -> Result<T, Failure> {
        loop {
            let frame = timeout(PATIENCE, self.down.message()).await??;
            let frame = frame.ok_or("the node ended the stream")?;
            if let Some(found) = wanted(&frame) {
                return Ok(found);
            }
        }
    }

    /// Asks until the node takes the command: it may not own its shards yet.
    async fn taken(&mut self, user_id: &str, log: LogId, op: Op) -> Result<(), Failure> {
        for id in 1.. {
            self.ask(id, user_id, log, op.clone()).await?;
            let refused = |frame: &EdgeResponse| {
                use heddle_proto::internal::command_result::Outcome;
                let result = frame.results.iter().find(|result| result.id == id)?;
                Some(matches!(result.outcome, Some(Outcome::Error(_))))
            };
            if !self.until(refused).await? {
                break;
            }
        }
        Ok(())
    }
}

/// A chat node on a store of its own; no notify-svc is there.
async fn node(tasks: &Tasks, history: HistoryConfig) -> Result<Link, Failure> {
    let history =
        HistoryService::open_with(history, &tasks.child("history"), |store| store).await?;
    let config = ChatConfig {
        heads_interval_ms: HEADS_INTERVAL_MS,
        ..ChatConfig::default()
    };
    let chat = ChatService::start(
        config,
        Link::local(history.routes()),
        LocalSlot::default().link(),
        SystemClock::shared(),
        tasks.child("chat"),
    );
    Ok(Link::local(chat.routes()))
}

/// The only delivery is lost and nothing follows it: the head is told all the same, and once more
/// in case that is lost too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_last_delivery_is_told_twice_by_its_head() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let tasks = Tasks::new("node");
    let config = HistoryConfig {
        disk_free_bytes_min: 0,
        ..HistoryConfig::at(dir.path())
    };
    let mut gateway = Gateway::connect(node(&tasks, config).await?).await?;
    let attach = AttachCommand {
        session_id: SESSION_ID,
        ..Default::default()
    };
    let attach = Op::Attach(attach);
    gateway.taken("bob", LogId::mailbox("bob"), attach).await?;
    let id = mint().to_bytes();
    let created = v1::MembershipChange {
        action: v1::MembershipAction::Created.into(),
        conversation_kind: v1::ConversationKind::Group.into(),
        user_ids: vec!["alice".into(), "bob".into()],
        ..Default::default()
    };
    let create = AppendCommand {
        client_message_id: id.clone(),
        kind: Some(append_command::Kind::Membership(created)),
        ..Default::default()
    };
    let create = Op::Append(Box::new(create));
    gateway
        .taken("alice", LogId::group("alice", &id), create)
        .await?;
    let told = |frame: &EdgeResponse| {
        let mine = |head: &&heddle_proto::internal::MailboxHead| {
            head.session_ids == [SESSION_ID] && head.position == 1
        };
        frame.heads.iter().find(mine).map(drop)
    };
    gateway.until(told).await?;
    gateway.until(told).await?;
    tasks.drain(GRACE).await;
    Ok(())
}
