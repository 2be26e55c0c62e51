//! Shard link: commands to the owners of conversations and mailboxes, and what they say.
//!
//! One stream for each chat node (`node`), whose deliveries `drill` may have dropped. `routes`
//! knows which node owns which log, `pending` whom each answer is for, `held` which commands wait
//! for a new owner.
//!
//! Invariant: each command that wants an answer gets one: the owner's, or a fault when no owner
//! came within `hold_max_ms`. Commands of one sender to one log leave in the order in which they
//! came, held or not. Of the locks, `held` is taken before `table`, and `routes` last.

mod drill;
mod frame;
mod held;
mod node;
mod pending;
mod routes;

use crate::{answers::Kind, commands::Ask, edge::Edge, session::Session};
use heddle_kit::{Link, Tasks};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{Command, command::Op, command_result::Outcome},
    v1::{Cursor, ErrorReason},
};
use held::Held;
use node::{Node, NotSent};
use pending::{Answer, Body, Pending, Table};
use routes::Routes;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// When a command that found no owner makes sense again, in milliseconds.
const RETRY_DELAY_MS: u64 = 500;

/// The way to all chat nodes.
pub struct ShardLinks {
    nodes: Vec<Node>,
    routes: RwLock<Routes>,
    table: Mutex<Table>,
    next_id: AtomicU64,
    held: Mutex<Held>,
    /// Whether anything is held: spares the lock on the way of a message.
    holding: AtomicBool,
    hold_max_ms: u64,
    held_max: usize,
    /// The gateway has drained.
    abandoned: AtomicBool,
    /// Live deliveries are dropped, see `drill`.
    dropping: AtomicBool,
}

impl ShardLinks {
    /// Not connected yet.
    pub fn new(links: Vec<Link>, hold_max_ms: u64, held_max: usize) -> Self {
        Self {
            nodes: links.into_iter().map(Node::new).collect(),
            routes: RwLock::default(),
            table: Mutex::default(),
            next_id: AtomicU64::new(1),
            held: Mutex::default(),
            holding: AtomicBool::new(false),
            hold_max_ms,
            held_max,
            abandoned: AtomicBool::new(false),
            dropping: AtomicBool::new(false),
        }
    }

    /// Connects to every node, and stays connected until `stop`.
    pub fn start(edge: &Arc<Edge>, tasks: &Tasks, stop: &CancellationToken) {
        for index in 0..edge.shards.nodes.len() {
            node::start(edge, tasks, stop.clone(), index);
        }
        drill::start(edge, tasks, stop.clone());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self, log: LogId) -> Option<usize> {
        self.routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .owner(log)
    }

    /// Whether the owners of all shards are known.
    pub fn is_ready(&self) -> bool {
        self.routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_complete()
    }

    /// Whether the owners of most shards are known.
    pub fn has_majority(&self) -> bool {
        self.routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .has_majority()
    }

    /// How many answers are outstanding.
    pub fn pending(&self) -> usize {
        self.table().len()
    }

    /// Asks for a session's request; the session is told by [`Session::answered`].
    pub fn ask(&self, edge: &Edge, session: &Arc<Session>, request_id: u64, kind: Kind, ask: Ask) {
        let answer = Answer::Request {
            session: session.clone(),
            request_id,
            kind,
        };
        self.submit(
            edge,
            ask.log,
            Body::Session {
                op: ask.op,
                session: session.clone(),
            },
            answer,
        );
    }

    /// Attaches a session, which is told by [`Session::attached`].
    pub fn attach(&self, edge: &Edge, session: &Arc<Session>, op: Op) {
        let resume: Option<Cursor> = match &op {
            Op::Attach(attach) => attach.resume,
            _ => None,
        };
        let answer = Answer::Attach {
            session: session.clone(),
            resume,
        };
        let body = Body::Session {
            op,
            session: session.clone(),
        };
        self.submit(edge, session.who().mailbox, body, answer);
    }

    /// How many shards there are; 0: no owner of any is known.
    pub fn shard_count(&self) -> u32 {
        self.routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .shard_count()
    }

    /// Asks for a unary call.
    pub async fn call(&self, edge: &Edge, log: LogId, command: Command) -> Result<Outcome, Fault> {
        let (answer, answered) = oneshot::channel();
        self.submit(
            edge,
            log,
            Body::Whole(Box::new(command)),
            Answer::Waiter(answer),
        );
        match answered.await {
            Ok(Ok(Outcome::Error(error))) => Err(Fault::from_wire(error)),
            Ok(outcome) => outcome,
            Err(_) => Err(no_owner()),
        }
    }

    /// A command that wants no answer; says whether it left. Held commands go first.
    pub fn hint(&self, log: LogId, user_id: &str, device_id: &str, op: Op) -> bool {
        let Some(owner) = self.owner(log) else {
            return false;
        };
        let command = pending::command(0, log, user_id, device_id, op);
        self.nodes[owner].send(command).is_ok()
    }

    /// Whether commands to this log's shard wait, so that a new one must wait behind them.
    fn is_held(&self, log: LogId) -> bool {
        self.holding.load(Ordering::Acquire) && {
            let held = self.held();
            held.waits(
                self.routes
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .shard(log),
            )
        }
    }

    fn submit(&self, edge: &Edge, log: LogId, body: Body, answer: Answer) {
        if self.abandoned.load(Ordering::Acquire) {
            return answer.tell(edge, Err(abandoned()));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let owner = self.owner(log).filter(|_| !self.is_held(log));
        let pending = Pending {
            answer,
            body,
            log,
            node: owner,
            asked_again: 0,
            held_since_ms: 0,
        };
        let command = pending.command(id);
        self.table().insert(id, pending);
        match owner.map(|owner| self.nodes[owner].send(command)) {
            Some(Ok(())) => {}
            Some(Err(NotSent::Full)) => self.fail(edge, id, overloaded()),
            Some(Err(NotSent::Closed)) | None => self.hold(edge, id),
        }
    }

    /// Lets a command wait for its log's owner, in its place among those that wait already.
    fn hold(&self, edge: &Edge, id: u64) {
        let now_ms = edge.clock.now_ms();
        let shard = {
            let mut table = self.table();
            let Some(pending) = table.get_mut(id) else {
                return;
            };
            pending.node = None;
            if pending.held_since_ms == 0 {
                pending.held_since_ms = now_ms;
            }
            self.routes
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .shard(pending.log)
        };
        let mut held = self.held();
        if held.len() >= self.held_max {
            drop(held);
            return self.fail(edge, id, overloaded());
        }
        held.put(shard, id);
        self.holding.store(true, Ordering::Release);
        drop(held);
    }

    /// Ends a command without its owner's word.
    fn fail(&self, edge: &Edge, id: u64, fault: Fault) {
        let pending = self.table().remove(id);
        if let Some(pending) = pending {
            pending.answer.tell(edge, Err(fault));
        }
    }

    /// The links are going down: what is not answered never will be, nor what still comes.
    pub fn abandon(&self, edge: &Edge) {
        self.abandoned.store(true, Ordering::Release);
        let left = self.table().ids();
        for id in left {
            self.fail(edge, id, abandoned());
        }
        *self.held() = Held::default();
    }

    /// The clock comes by: what waits too long fails, what has an owner again goes on.
    pub fn turn(&self, edge: &Edge, now_ms: u64) {
        if !self.holding.load(Ordering::Acquire) {
            return;
        }
        let since_ms = now_ms.saturating_sub(self.hold_max_ms);
        let late: Vec<(u32, u64)> = {
            let held = self.held();
            let table = self.table();
            let late = |id: u64| table.get(id).is_none_or(|p| p.held_since_ms <= since_ms);
            held.all().filter(|(_, id)| late(*id)).collect()
        };
        for (shard, id) in late {
            self.held().remove(shard, id);
            self.fail(edge, id, no_owner());
        }
        self.release(edge, now_ms);
    }

    /// Sends what is held and has an owner, in the order in which it came.
    fn release(&self, edge: &Edge, now_ms: u64) {
        let mut overflowing = Vec::new();
        let mut held = self.held();
        for shard in held.shards(now_ms) {
            while let Some(id) = held.first(shard) {
                let mut table = self.table();
                let Some(pending) = table.get_mut(id) else {
                    held.remove(shard, id);
                    continue;
                };
                let Some(owner) = self.owner(pending.log) else {
                    break;
                };
                pending.ask_again(owner);
                let command = pending.command(id);
                drop(table);
                match self.nodes[owner].send(command) {
                    Ok(()) => held.remove(shard, id),
                    Err(NotSent::Full) => {
                        held.remove(shard, id);
                        overflowing.push(id);
                    }
                    Err(NotSent::Closed) => break,
                }
            }
        }
        if held.len() == 0 {
            self.holding.store(false, Ordering::Release);
        }
        drop(held);
        for id in overflowing {
            self.fail(edge, id, overloaded());
        }
    }
}

fn no_owner() -> Fault {
    let text = "the owner of this log is changing; retry the same id after the delay";
    Fault::new(ErrorReason::OwnerChanging, text).retry_after(RETRY_DELAY_MS)
}

fn abandoned() -> Fault {
    let text = "the server is shutting down; connect again, then retry the same id";
    Fault::new(ErrorReason::Draining, text)
}

fn overloaded() -> Fault {
    let text = "too many commands wait; nothing was taken; retry the same id after the delay";
    Fault::new(ErrorReason::Overloaded, text).retry_after(RETRY_DELAY_MS)
}
