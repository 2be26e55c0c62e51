//! Api: the public services over unary calls, and the two streams' doors.
//!
//! Each file is one service: authenticate, validate, ask the owner, answer. `messaging` also opens
//! sessions.
//!
//! Invariant: a handler decides nothing about who may do what in a conversation: its owner does,
//! after the call arrived.

mod conversations;
mod convert;
mod day_rows;
mod devices;
mod discovery;
mod events;
mod history;
mod members;
mod messaging;
mod operations;
pub mod page_token;
mod plan;
mod presence;
mod pushes;
mod summaries;
mod twins;
mod users;

use crate::{
    auth::{self, Identity},
    edge::Edge,
    validate::{At, Rules},
};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{Command, GrantCommand, GrantResult, command::Op, command_result::Outcome},
    v1::ErrorReason,
};
use std::sync::Arc;
use tonic::metadata::MetadataMap;

/// All services.
#[derive(Clone)]
pub struct Api {
    edge: Arc<Edge>,
}

/// Who makes a call.
struct Caller {
    identity: Identity,
    device_id: String,
}

impl Caller {
    fn user_id(&self) -> &str {
        &self.identity.user_id
    }

    fn mailbox(&self) -> LogId {
        LogId::mailbox(&self.identity.user_id)
    }

    fn needs_admin(&self) -> Result<(), Fault> {
        let text = "needs a token with heddle.admin";
        match self.identity.admin {
            true => Ok(()),
            false => Err(Fault::new(ErrorReason::RoleRequired, text)),
        }
    }

    /// The user that a call is about: the caller, or whom an admin names.
    fn about(&self, user_id: String) -> Result<String, Fault> {
        if user_id.is_empty() || user_id == self.user_id() {
            return Ok(self.user_id().to_owned());
        }
        self.needs_admin()?;
        At::CALL.user("user_id", &user_id)?;
        Ok(user_id)
    }

    fn trusted(&self) -> bool {
        self.identity.service || self.identity.admin
    }
}

impl Api {
    /// The services of a gateway.
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// Who calls, counted against the limits; a device that the call names must not be revoked.
    async fn caller(&self, metadata: &MetadataMap, method: &str) -> Result<Caller, Fault> {
        let edge = &self.edge;
        let identity = edge.auth.metadata(metadata, method)?;
        let device_id = identity.device_named(auth::device_id(metadata)?)?;
        edge.rates
            .check(edge.rates.key(&identity.user_id, &device_id))?;
        edge.standing.check(edge, &identity, &device_id).await?;
        Ok(Caller {
            identity,
            device_id,
        })
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            limits: &self.edge.options.limits,
            now_ms: self.edge.clock.now_ms(),
        }
    }

    /// Asks the owner of a log in the caller's name.
    async fn ask(&self, caller: &Caller, log: LogId, op: Op) -> Result<Outcome, Fault> {
        let command = Command {
            user_id: caller.identity.user_id.clone(),
            device_id: caller.device_id.clone(),
            op: Some(op),
            ..Default::default()
        };
        self.edge.shards.call(&self.edge, log, command).await
    }

    /// Asks the owner of a user's mailbox, in that user's name.
    async fn ask_mailbox(&self, user_id: String, op: Op) -> Result<Outcome, Fault> {
        let mailbox = LogId::mailbox(&user_id);
        let command = Command {
            user_id,
            op: Some(op),
            ..Default::default()
        };
        self.edge.shards.call(&self.edge, mailbox, command).await
    }

    /// What of a conversation the caller may read now.
    async fn grant(
        &self,
        caller: &Caller,
        log: LogId,
        members_max: u32,
        after_user_id: String,
    ) -> Result<GrantResult, Fault> {
        let grant = Op::Grant(GrantCommand {
            members_max,
            after_user_id,
        });
        match self.ask(caller, log, grant).await? {
            Outcome::Grant(grant) if !grant.ranges.is_empty() => Ok(grant),
            Outcome::Grant(_) => Err(Fault::not_found("conversation")),
            _ => Err(crate::answers::unexpected()),
        }
    }

    /// Appends an event; answers its seq.
    async fn append(&self, caller: &Caller, ask: crate::commands::Ask) -> Result<u64, Fault> {
        match self.ask(caller, ask.log, ask.op).await? {
            Outcome::Append(done) => Ok(done.seq),
            _ => Err(crate::answers::unexpected()),
        }
    }
}
