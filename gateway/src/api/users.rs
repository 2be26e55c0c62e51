//! Users: the caller, others by id, and an admin's upsert.
//!
//! A user's row belongs to the owner of the user's mailbox.

use super::{Api, Caller, convert};
use crate::validate::At;
use futures_util::{StreamExt, stream};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{Command, UserCommand, UserResult, command::Op, command_result::Outcome},
    v1::{self, user_service_server::UserService},
};
use tonic::{Request, Response, Status, async_trait};

const NAME_CHARS_MAX: usize = 200;
const AVATAR_BYTES_MAX: usize = 2_000;
const BATCH_MAX: usize = 200;
/// Users that are asked about at once.
const ASKED_AT_ONCE: usize = 32;

fn check(at: At, name: &str, avatar_url: &str) -> Result<(), Fault> {
    at.chars("name", name, NAME_CHARS_MAX)?;
    at.bytes("avatar_url", avatar_url.len(), 0, AVATAR_BYTES_MAX)
}

impl Api {
    async fn user(
        &self,
        caller: &Caller,
        user_id: &str,
        change: UserCommand,
    ) -> Result<Option<v1::User>, Fault> {
        let command = Command {
            user_id: user_id.to_owned(),
            device_id: caller.device_id.clone(),
            op: Some(Op::User(change)),
            ..Default::default()
        };
        match self
            .edge
            .shards
            .call(&self.edge, LogId::mailbox(user_id), command)
            .await?
        {
            Outcome::User(UserResult { user }) => Ok(user.map(|row| convert::user(user_id, row))),
            _ => Err(crate::answers::unexpected()),
        }
    }
}

#[async_trait]
impl UserService for Api {
    async fn get_self(
        &self,
        request: Request<v1::GetSelfRequest>,
    ) -> Result<Response<v1::GetSelfResponse>, Status> {
        let caller = self.caller(request.metadata(), "GetSelf").await?;
        let create = UserCommand {
            create: true,
            ..Default::default()
        };
        let user = self.user(&caller, caller.user_id(), create).await?;
        Ok(Response::new(v1::GetSelfResponse { user }))
    }

    async fn update_self(
        &self,
        request: Request<v1::UpdateSelfRequest>,
    ) -> Result<Response<v1::UpdateSelfResponse>, Status> {
        let caller = self.caller(request.metadata(), "UpdateSelf").await?;
        let v1::UpdateSelfRequest { name, avatar_url } = request.into_inner();
        check(At::CALL, &name, &avatar_url)?;
        let (name, avatar_url) = (Some(name), Some(avatar_url));
        let change = UserCommand {
            name,
            avatar_url,
            create: true,
            ..Default::default()
        };
        let user = self.user(&caller, caller.user_id(), change).await?;
        Ok(Response::new(v1::UpdateSelfResponse { user }))
    }

    async fn batch_get_users(
        &self,
        request: Request<v1::BatchGetUsersRequest>,
    ) -> Result<Response<v1::BatchGetUsersResponse>, Status> {
        let caller = self.caller(request.metadata(), "BatchGetUsers").await?;
        let user_ids = request.into_inner().user_ids;
        At::CALL.users("user_ids", &user_ids, BATCH_MAX)?;
        let (api, caller) = (self, &caller);
        let asked = user_ids
            .into_iter()
            .map(|id| async move { api.user(caller, &id, UserCommand::default()).await });
        let found: Vec<_> = stream::iter(asked)
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await;
        let users = found
            .into_iter()
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        Ok(Response::new(v1::BatchGetUsersResponse { users }))
    }

    async fn upsert_user(
        &self,
        request: Request<v1::UpsertUserRequest>,
    ) -> Result<Response<v1::UpsertUserResponse>, Status> {
        let caller = self.caller(request.metadata(), "UpsertUser").await?;
        caller.needs_admin()?;
        let at = At("user");
        let user = request
            .into_inner()
            .user
            .ok_or_else(|| at.fault("user_id", "is missing"))?;
        at.user("user_id", &user.user_id)?;
        check(at, &user.name, &user.avatar_url)?;
        let (name, avatar_url) = (Some(user.name), Some(user.avatar_url));
        let change = UserCommand {
            name,
            avatar_url,
            create: true,
            ..Default::default()
        };
        let user = self.user(&caller, &user.user_id, change).await?;
        Ok(Response::new(v1::UpsertUserResponse { user }))
    }
}
