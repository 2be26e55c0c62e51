//! Pending: whom each answer is for, and how to ask again.
//!
//! A command is kept until it is answered, since its owner may die before that. How often it was
//! asked goes along in its id, so that an answer says which time it is for.
//!
//! Invariant: an entry leaves the table once, with its answer: an owner's OK, whichever time that
//! is for, since it is stored; or a refusal of the owner that was asked last. What a former owner
//! refused, the next one may have stored.

use crate::{answers::Kind, edge::Edge, session::Session};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{Command, command::Op, command_result::Outcome},
    v1::Cursor,
};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Whom an answer is for.
pub enum Answer {
    /// A request of a session.
    Request {
        /// The session.
        session: Arc<Session>,
        /// Its name for the request.
        request_id: u64,
        /// What the answer looks like.
        kind: Kind,
    },
    /// A session that wants to be attached.
    Attach {
        /// The session.
        session: Arc<Session>,
        /// Where it goes on.
        resume: Option<Cursor>,
    },
    /// A unary call.
    Waiter(oneshot::Sender<Result<Outcome, Fault>>),
}

/// What is asked, so that it can be asked again.
pub enum Body {
    /// By a session, which knows who it is.
    Session {
        /// What.
        op: Op,
        /// Who.
        session: Arc<Session>,
    },
    /// By a unary call.
    Whole(Box<Command>),
}

/// A command without its answer.
pub struct Pending {
    /// Whom the answer is for.
    pub answer: Answer,
    /// What was asked.
    pub body: Body,
    /// Of which log.
    pub log: LogId,
    /// The node that was asked; none: it waits.
    pub node: Option<usize>,
    /// How often it was asked again, modulo 256.
    pub asked_again: u8,
    /// Since when it has waited, in milliseconds since the Unix epoch; 0: it has not.
    pub held_since_ms: u64,
}

/// An id on its way has how often the command was asked again in its highest byte.
const ASKED_AGAIN_SHIFT: u32 = 56;

impl Pending {
    /// The command as it goes to the owner, this time.
    pub fn command(&self, id: u64) -> Command {
        let said = id | u64::from(self.asked_again) << ASKED_AGAIN_SHIFT;
        self.body.command(said, self.log)
    }

    /// It is asked once more.
    pub fn ask_again(&mut self, node: usize) {
        self.node = Some(node);
        self.asked_again = self.asked_again.wrapping_add(1);
    }
}

/// The command that an answer is for, and which time it was asked.
pub fn asked(said: u64) -> (u64, u8) {
    let id = said & !(u64::from(u8::MAX) << ASKED_AGAIN_SHIFT);
    (id, (said >> ASKED_AGAIN_SHIFT) as u8)
}

/// Commands without answers, by id.
#[derive(Default)]
pub struct Table(HashMap<u64, Pending, BuildHasherDefault<IdHasher>>);

/// Ids are consecutive numbers: spread by one multiplication.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Table {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts one in.
    pub fn insert(&mut self, id: u64, pending: Pending) {
        self.0.insert(id, pending);
    }

    /// One of them.
    pub fn get(&self, id: u64) -> Option<&Pending> {
        self.0.get(&id)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Pending> {
        self.0.get_mut(&id)
    }

    /// Takes one out.
    pub fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.0.remove(&id);
        if self.0.is_empty() && self.0.capacity() > 1024 {
            self.0.shrink_to(1024);
        }
        pending
    }

    /// All of them, in the order in which they came.
    pub fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.0.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Those that another node than this was asked, of logs that `wanted` picks, in the order in
    /// which they were.
    pub fn of_others(&self, node: usize, wanted: impl Fn(LogId) -> bool) -> Vec<u64> {
        let elsewhere = |pending: &Pending| pending.node.is_some_and(|asked| asked != node);
        let asked = self.0.iter();
        let asked = asked.filter(|(_, pending)| elsewhere(pending) && wanted(pending.log));
        let mut ids: Vec<u64> = asked.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Those that a node was asked, in the order in which they were.
    pub fn of_node(&self, node: usize) -> Vec<u64> {
        let asked = self
            .0
            .iter()
            .filter(|(_, pending)| pending.node == Some(node));
        let mut ids: Vec<u64> = asked.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}

impl Body {
    /// The command as it goes to the owner.
    pub fn command(&self, id: u64, log: LogId) -> Command {
        match self {
            Self::Session { op, session } => {
                let who = session.who();
                command(id, log, &who.user_id, &who.device_id, op.clone())
            }
            Self::Whole(whole) => Command {
                id,
                log_id: log.to_bytes(),
                ..(**whole).clone()
            },
        }
    }
}

/// A command.
pub fn command(id: u64, log: LogId, user_id: &str, device_id: &str, op: Op) -> Command {
    Command {
        id,
        user_id: user_id.to_owned(),
        device_id: device_id.to_owned(),
        log_id: log.to_bytes(),
        op: Some(op),
    }
}

impl Answer {
    /// Tells the answer. Never waits.
    pub fn tell(self, edge: &Edge, outcome: Result<Outcome, Fault>) {
        match self {
            Self::Request {
                session,
                request_id,
                kind,
            } => {
                session.answered(request_id, kind, outcome);
            }
            Self::Attach { session, resume } => session.attached(edge, resume, outcome),
            // A caller that has gone needs no answer.
            Self::Waiter(waiter) => drop(waiter.send(outcome)),
        }
    }
}
