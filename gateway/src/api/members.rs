//! Members: who joins, leaves, and may do what.
//!
//! Each change is one event; whether the caller's role allows it, the conversation's owner says.

use super::{
    Api, Caller, convert,
    page_token::{self, List},
};
use crate::{commands, validate::At};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::append_command::Kind,
    v1::{self, MembershipAction, MembershipChange, Role},
};

const ADDED_MAX: usize = 1_000;
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

impl Api {
    async fn change(
        &self,
        caller: &Caller,
        conversation_id: &[u8],
        client_message_id: Bytes,
        change: MembershipChange,
    ) -> Result<u64, Fault> {
        let log = At::CALL.conversation(conversation_id)?;
        self.rules().message_id(At::CALL, &client_message_id)?;
        let kind = Kind::Membership(change);
        self.append(caller, commands::append(log, client_message_id, kind))
            .await
    }

    pub(super) async fn add(
        &self,
        caller: &Caller,
        request: v1::AddMembersRequest,
    ) -> Result<u64, Fault> {
        let role = match request.role() {
            Role::Unspecified => Role::Member,
            role => role,
        };
        At::CALL.count("user_ids", request.user_ids.len(), 1, ADDED_MAX)?;
        At::CALL.users("user_ids", &request.user_ids, ADDED_MAX)?;
        let change = MembershipChange {
            action: MembershipAction::Added.into(),
            user_ids: request.user_ids,
            role: role.into(),
            ..Default::default()
        };
        let id = request.client_message_id;
        self.change(caller, &request.conversation_id, id, change)
            .await
    }

    pub(super) async fn remove(
        &self,
        caller: &Caller,
        request: v1::RemoveMemberRequest,
    ) -> Result<u64, Fault> {
        At::CALL.user("user_id", &request.user_id)?;
        let change = MembershipChange {
            action: MembershipAction::Removed.into(),
            user_ids: vec![request.user_id],
            ..Default::default()
        };
        let id = request.client_message_id;
        self.change(caller, &request.conversation_id, id, change)
            .await
    }

    pub(super) async fn leave(
        &self,
        caller: &Caller,
        request: v1::LeaveConversationRequest,
    ) -> Result<u64, Fault> {
        let action = MembershipAction::Left.into();
        let change = MembershipChange {
            action,
            ..Default::default()
        };
        let id = request.client_message_id;
        self.change(caller, &request.conversation_id, id, change)
            .await
    }

    pub(super) async fn set_role(
        &self,
        caller: &Caller,
        request: v1::SetMemberRoleRequest,
    ) -> Result<u64, Fault> {
        At::CALL.user("user_id", &request.user_id)?;
        let role = request.role();
        if role == Role::Unspecified {
            return Err(At::CALL.fault("role", "must be MEMBER, ADMIN or OWNER"));
        }
        let change = MembershipChange {
            action: MembershipAction::RoleSet.into(),
            user_ids: vec![request.user_id],
            role: role.into(),
            ..Default::default()
        };
        let id = request.client_message_id;
        self.change(caller, &request.conversation_id, id, change)
            .await
    }

    pub(super) async fn members(
        &self,
        caller: &Caller,
        request: v1::ListMembersRequest,
    ) -> Result<v1::ListMembersResponse, Fault> {
        let log = At::CALL.conversation(&request.conversation_id)?;
        let page = At::CALL.page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let place = page_token::decode(List::Members, log.as_bytes(), &request.page_token)?;
        let after = String::from_utf8(place.unwrap_or_default())
            .map_err(|_| At::CALL.fault("page_token", "is not of this list"))?;
        let grant = self.grant(caller, log, page, after).await?;
        let last = grant.members.last().filter(|_| grant.more);
        let next_page_token = last.map_or_else(String::new, |last| {
            page_token::encode(List::Members, log.as_bytes(), last.user_id.as_bytes())
        });
        let members = grant.members.iter().map(convert::member).collect();
        Ok(v1::ListMembersResponse {
            members,
            next_page_token,
        })
    }
}
