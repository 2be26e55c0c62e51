//! Chat: a chat node that answers by script and delivers what a test says.

use super::until;
use bytes::Bytes;
use futures_util::StreamExt;
use heddle_proto::{
    errors::Fault,
    internal::{
        AppendResult, Command, CommandResult, Delivery, EdgeRequest, EdgeResponse, GrantResult,
        HeadResult, MarkResult, PeerRequest, PeerResponse, SeqRange, ShardMap, SharesResult,
        command::Op, command_result::Outcome, shard_service_server::ShardService,
    },
    v1::{Cursor, ErrorReason, ResumeOutcome},
};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

type Frames = ReceiverStream<Result<EdgeResponse, Status>>;
type Script = Box<dyn FnMut(&Command) -> Option<Outcome> + Send>;

/// The nonce under which everything here is committed.
pub const NONCE: u64 = 42;

/// A chat node.
#[derive(Clone, Default)]
pub struct Chat(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    seen: Vec<Command>,
    script: Option<Script>,
    stream: Option<mpsc::Sender<Result<EdgeResponse, Status>>>,
    streams: usize,
    next_seq: u64,
    head: u64,
    silent: bool,
    /// Shards it announces; none: both.
    owned: Option<Vec<u32>>,
}

fn delivery(sessions: &[u64], position: u64) -> Delivery {
    Delivery {
        session_ids: sessions.to_vec(),
        position,
        nonce: NONCE,
        conversation_id: Bytes::from_static(&[9; 16]),
        ..Default::default()
    }
}

fn carrying(delivery: Delivery, body: Bytes) -> EdgeResponse {
    EdgeResponse {
        bodies: vec![body],
        deliveries: vec![delivery],
        ..Default::default()
    }
}

impl Chat {
    /// Answers what the script answers; the rest as usual.
    pub fn script(&self, script: impl FnMut(&Command) -> Option<Outcome> + Send + 'static) {
        self.0.lock().unwrap().script = Some(Box::new(script));
    }

    /// Answers nothing from now on, or again.
    pub fn silent(&self, silent: bool) {
        self.0.lock().unwrap().silent = silent;
    }

    /// The head that attaches are told.
    pub fn head(&self, head: u64) {
        self.0.lock().unwrap().head = head;
    }

    /// What has come so far.
    pub fn seen(&self) -> Vec<Command> {
        self.0.lock().unwrap().seen.clone()
    }

    /// The first command for which `pick` finds something, waited for.
    pub async fn saw<T>(&self, what: &str, mut pick: impl FnMut(&Command) -> Option<T>) -> T {
        let mut found = None;
        until(what, || {
            found = self.0.lock().unwrap().seen.iter().find_map(&mut pick);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// How many streams gateways have opened.
    pub fn streams(&self) -> usize {
        self.0.lock().unwrap().streams
    }

    /// Sends a frame.
    pub async fn send(&self, frame: EdgeResponse) {
        let stream = self.0.lock().unwrap().stream.clone().unwrap();
        stream.send(Ok(frame)).await.unwrap();
    }

    /// Delivers an event of 16 or more bytes at a position to sessions.
    pub async fn deliver(&self, sessions: &[u64], position: u64, body: Bytes) {
        let markable_seq = position;
        let message = Delivery {
            markable_seq,
            ..delivery(sessions, position)
        };
        self.send(carrying(message, body)).await;
    }

    /// Delivers the erasure of the message with this seq.
    pub async fn erase(&self, sessions: &[u64], position: u64, body: Bytes, erased_seq: u64) {
        let erasure = Delivery {
            erased_seq,
            ..delivery(sessions, position)
        };
        self.send(carrying(erasure, body)).await;
    }

    /// Announces that it owns these of two shards, now and to streams to come.
    pub async fn own(&self, owned: &[u32]) {
        let streaming = {
            let mut state = self.0.lock().unwrap();
            state.owned = Some(owned.to_vec());
            state.stream.is_some()
        };
        if streaming {
            self.send(self.announcement()).await;
        }
    }

    fn announcement(&self) -> EdgeResponse {
        let owned = self.0.lock().unwrap().owned.clone();
        let map = ShardMap {
            shard_count: 2,
            owned: owned.unwrap_or(vec![0, 1]),
        };
        EdgeResponse {
            shard_map: Some(map),
            ..Default::default()
        }
    }

    /// Dies: the stream ends.
    pub fn die(&self) {
        self.0.lock().unwrap().stream = None;
    }

    fn answer(&self, command: &Command) -> Option<Outcome> {
        let mut state = self.0.lock().unwrap();
        state.seen.push(command.clone());
        if state.silent {
            return None;
        }
        let mut script = state.script.take();
        let scripted = script.as_mut().and_then(|script| script(command));
        state.script = script;
        scripted.or_else(|| state.usual(command))
    }

    async fn listen(self, mut frames: Streaming<EdgeRequest>) {
        while let Some(Ok(frame)) = frames.next().await {
            let mut results = Vec::new();
            for command in &frame.commands {
                let outcome = self.answer(command);
                if let (Some(outcome), 1..) = (outcome, command.id) {
                    results.push(CommandResult {
                        id: command.id,
                        outcome: Some(outcome),
                    });
                }
            }
            let stream = self.0.lock().unwrap().stream.clone();
            if let (Some(stream), false) = (stream, results.is_empty()) {
                let frame = EdgeResponse {
                    results,
                    ..Default::default()
                };
                let _gone = stream.send(Ok(frame)).await;
            }
        }
    }
}

impl State {
    fn usual(&mut self, command: &Command) -> Option<Outcome> {
        let head = Some(Cursor {
            position: self.head,
            nonce: NONCE,
        });
        Some(match command.op.as_ref()? {
            Op::Append(_) => {
                self.next_seq += 1;
                Outcome::Append(AppendResult {
                    seq: self.next_seq,
                    time_ms: 1,
                })
            }
            Op::Mark(mark) => Outcome::Mark(MarkResult {
                read_seq: mark.read_seq,
            }),
            Op::Attach(attach) => {
                let outcome = match attach.resume {
                    Some(_) => ResumeOutcome::Resumed,
                    None => ResumeOutcome::Fresh,
                };
                Outcome::Head(HeadResult {
                    head,
                    outcome: outcome.into(),
                })
            }
            Op::Head(_) => Outcome::Head(HeadResult {
                head,
                outcome: ResumeOutcome::Resumed.into(),
            }),
            Op::Grant(_) => Outcome::Grant(GrantResult {
                head_seq: 100,
                ranges: vec![SeqRange {
                    from_seq: 1,
                    to_seq: 100,
                }],
                ..Default::default()
            }),
            Op::Shares(_) => {
                let conversation_ids = vec![Bytes::from_static(&[9; 16])];
                Outcome::Shares(SharesResult { conversation_ids })
            }
            Op::Standing(_) => Outcome::Standing(Default::default()),
            _ => Outcome::Done(Default::default()),
        })
    }
}

/// The owner is changing.
pub fn owner_changing() -> Outcome {
    Outcome::Error(Fault::new(ErrorReason::OwnerChanging, "not now").to_wire())
}

#[async_trait]
impl ShardService for Chat {
    type EdgeStream = Frames;
    type PeerStream = ReceiverStream<Result<PeerResponse, Status>>;

    async fn edge(
        &self,
        request: Request<Streaming<EdgeRequest>>,
    ) -> Result<Response<Frames>, Status> {
        let (stream, frames) = mpsc::channel(1024);
        stream.try_send(Ok(self.announcement())).unwrap();
        {
            let mut state = self.0.lock().unwrap();
            state.stream = Some(stream);
            state.streams += 1;
        }
        tokio::spawn(self.clone().listen(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn peer(
        &self,
        _: Request<Streaming<PeerRequest>>,
    ) -> Result<Response<Self::PeerStream>, Status> {
        Err(Status::unimplemented("no peers here"))
    }
}
