//! A shard that takes nothing more: what is for it is refused, and the others serve on.

use super::*;
use crate::shard::batch::BATCH_ITEMS_MAX;
use tokio::sync::watch;

/// The shard whose commits are not answered while a test says so.
const HELD: u32 = 0;

/// A history-svc that holds back what it says to one shard.
#[derive(Clone)]
struct Holding {
    history: History,
    holds: Arc<watch::Sender<bool>>,
}

impl Holding {
    async fn answer(self, commit: Commit, answers: mpsc::Sender<Result<CommitResponse, Status>>) {
        if commit.shard == HELD {
            let mut holds = self.holds.subscribe();
            drop(holds.wait_for(|holds| !*holds).await);
        }
        let outcome = CommitOutcome {
            id: commit.id,
            status: CommitStatus::Committed as i32,
            ..Default::default()
        };
        let outcomes = vec![outcome];
        let _gone = answers.send(Ok(CommitResponse { outcomes })).await;
    }
}

#[async_trait]
impl StoreService for Holding {
    type CommitStream = Answers<CommitResponse>;
    type ReadStream = Answers<ReadResponse>;

    async fn commit(
        &self,
        request: Request<Streaming<CommitRequest>>,
    ) -> Result<Response<Self::CommitStream>, Status> {
        let (answers, stream) = mpsc::channel(1024);
        let (holding, mut frames) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Some(Ok(frame)) = frames.next().await {
                for commit in frame.commits {
                    tokio::spawn(holding.clone().answer(commit, answers.clone()));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn read(
        &self,
        request: Request<Streaming<ReadRequest>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        self.history.read(request).await
    }

    async fn take_shards(
        &self,
        request: Request<TakeShardsRequest>,
    ) -> Result<Response<TakeShardsResponse>, Status> {
        self.history.take_shards(request).await
    }

    async fn lease(
        &self,
        request: Request<LeaseRequest>,
    ) -> Result<Response<LeaseResponse>, Status> {
        self.history.lease(request).await
    }
}

fn user_on(shard: u32) -> String {
    let mut users = (0u32..).map(|number| format!("user {number}"));
    let on_shard = |user: &String| LogId::mailbox(user).shard(SHARDS) == shard;
    users.find(on_shard).unwrap()
}

/// Commands of one frame.
const FRAME_LEN: u64 = 4_096;
/// Frames that are sent to a shard that takes nothing more.
const FRAMES: u64 = 24;
/// A commit under way, the next one, what came with its last frame, and the queue.
const TAKEN_MAX: usize = 2 * BATCH_ITEMS_MAX + (1 + QUEUE_LEN_MAX) * FRAME_LEN as usize;

fn is_overloaded(outcome: &command_result::Outcome) -> bool {
    matches!(outcome, command_result::Outcome::Error(error)
        if error.reason() == ErrorReason::Overloaded && error.retry_delay.is_some())
}

/// A gateway's stream is read on while one of the shards takes nothing more: what is for that shard
/// is refused beyond a bound, what is for another one is answered at once.
#[tokio::test]
async fn a_shard_that_is_held_up_has_commands_refused_and_another_serves_on() {
    let holds = Arc::new(watch::Sender::new(false));
    let node = alone(Holding {
        history: History::default(),
        holds: holds.clone(),
    });
    let mut gateway = Gateway::link(&node, "phone").await;
    let (held, other) = (user_on(HELD), user_on(HELD + 1));
    for user_id in [&held, &other] {
        let loaded = gateway.asks_head(user_id, 1).await;
        gateway.answer(loaded).await;
    }
    holds.send_replace(true);
    for _ in 0..FRAMES {
        gateway.asks_head(&held, FRAME_LEN).await;
        let beside = gateway.asks_head(&other, 1).await;
        let head = gateway.answer(beside).await;
        assert!(matches!(head, command_result::Outcome::Head(_)), "{head:?}");
    }
    let refused = |gateway: &Gateway| {
        let answers = gateway.answers.values();
        answers.filter(|outcome| is_overloaded(outcome)).count()
    };
    let sent = (FRAMES * FRAME_LEN) as usize;
    let at_once = refused(&gateway);
    assert!(at_once >= sent - TAKEN_MAX, "{at_once} of {sent}");
    holds.send_replace(false);
    while (gateway.answers.len() as u64) < gateway.asked {
        gateway.read().await;
    }
    assert_eq!(refused(&gateway), at_once, "what was taken is answered");
}
