//! Conversations and members: create, change, list.
//!
//! Each call that makes something mints an id once and keeps it over its retries.

use super::Client;
use crate::Error;
use heddle_proto::ids::LogId;
use heddle_proto::v1::conversation_service_client::ConversationServiceClient as Stub;
use heddle_proto::v1::{self, ConversationKind};

/// Conversations asked for at a time.
const PAGE_SIZE: i32 = 200;
/// Members asked for at a time.
const MEMBERS_PAGE_SIZE: i32 = 1_000;

/// A user's whole list of conversations, and the place in the mailbox that it stands for.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Most recently active first, pinned ones before the others.
    pub conversations: Vec<v1::ConversationSummary>,
    /// Events after this one bring the list up to date.
    pub position: v1::Cursor,
}

impl Client {
    /// The direct conversation with somebody; made if it is not there.
    pub async fn create_direct(&self, user_id: &str) -> Result<v1::Conversation, Error> {
        self.create_conversation(v1::CreateConversationRequest {
            client_message_id: self.mint().to_bytes(),
            kind: ConversationKind::Direct.into(),
            user_ids: vec![user_id.to_owned()],
            title: String::new(),
        })
        .await
    }

    /// A new group; the caller is its owner.
    pub async fn create_group(
        &self,
        title: &str,
        user_ids: Vec<String>,
    ) -> Result<v1::Conversation, Error> {
        self.create_conversation(v1::CreateConversationRequest {
            client_message_id: self.mint().to_bytes(),
            kind: ConversationKind::Group.into(),
            user_ids,
            title: title.to_owned(),
        })
        .await
    }

    /// Makes a conversation, with an id of the caller's choice.
    pub async fn create_conversation(
        &self,
        request: v1::CreateConversationRequest,
    ) -> Result<v1::Conversation, Error> {
        let call =
            |channel, request| async move { Stub::new(channel).create_conversation(request).await };
        let response = self.call(request, call).await?;
        Ok(response.conversation.unwrap_or_default())
    }

    /// One conversation, with the caller's membership and, in small groups, everybody's marks.
    pub async fn conversation(&self, id: LogId) -> Result<v1::GetConversationResponse, Error> {
        let request = v1::GetConversationRequest {
            conversation_id: id.to_bytes(),
        };
        let call =
            |channel, request| async move { Stub::new(channel).get_conversation(request).await };
        self.call(request, call).await
    }

    /// A page of the caller's list.
    pub async fn list_conversations(
        &self,
        request: v1::ListConversationsRequest,
    ) -> Result<v1::ListConversationsResponse, Error> {
        let call = |channel, request| async move {
            Stub::new(channel)
                .max_decoding_message_size(super::MESSAGE_BYTES_MAX)
                .list_conversations(request)
                .await
        };
        self.call(request, call).await
    }

    /// The caller's whole list. Its position is the first page's: what changes meanwhile comes as
    /// events after it, which a view applies without harm to what later pages show already.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut request = v1::ListConversationsRequest {
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        let mut snapshot = Snapshot::default();
        loop {
            let page = self.list_conversations(request.clone()).await?;
            if request.page_token.is_empty() {
                snapshot.position = page.snapshot_position.unwrap_or_default();
            }
            snapshot.conversations.extend(page.conversations);
            if page.next_page_token.is_empty() {
                return Ok(snapshot);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes a group's title; the seq of the event that says so.
    pub async fn rename(&self, id: LogId, title: &str) -> Result<u64, Error> {
        let request = v1::UpdateConversationRequest {
            client_message_id: self.mint().to_bytes(),
            conversation_id: id.to_bytes(),
            title: title.to_owned(),
        };
        let call =
            |channel, request| async move { Stub::new(channel).update_conversation(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// Adds members; the seq of the event that says so, 0 when all were members already.
    pub async fn add_members(&self, id: LogId, user_ids: Vec<String>) -> Result<u64, Error> {
        let request = v1::AddMembersRequest {
            client_message_id: self.mint().to_bytes(),
            conversation_id: id.to_bytes(),
            user_ids,
            role: v1::Role::Member.into(),
        };
        let call = |channel, request| async move { Stub::new(channel).add_members(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// Removes a member; the seq of the event that says so.
    pub async fn remove_member(&self, id: LogId, user_id: &str) -> Result<u64, Error> {
        let request = v1::RemoveMemberRequest {
            client_message_id: self.mint().to_bytes(),
            conversation_id: id.to_bytes(),
            user_id: user_id.to_owned(),
        };
        let call =
            |channel, request| async move { Stub::new(channel).remove_member(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// Leaves; the seq of the event that says so.
    pub async fn leave(&self, id: LogId) -> Result<u64, Error> {
        let request = v1::LeaveConversationRequest {
            client_message_id: self.mint().to_bytes(),
            conversation_id: id.to_bytes(),
        };
        let call =
            |channel, request| async move { Stub::new(channel).leave_conversation(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// Gives a member another role; the seq of the event that says so.
    pub async fn set_role(&self, id: LogId, user_id: &str, role: v1::Role) -> Result<u64, Error> {
        let request = v1::SetMemberRoleRequest {
            client_message_id: self.mint().to_bytes(),
            conversation_id: id.to_bytes(),
            user_id: user_id.to_owned(),
            role: role.into(),
        };
        let call =
            |channel, request| async move { Stub::new(channel).set_member_role(request).await };
        Ok(self.call(request, call).await?.seq)
    }

    /// All members, by user id.
    pub async fn members(&self, id: LogId) -> Result<Vec<v1::Member>, Error> {
        let mut request = v1::ListMembersRequest {
            conversation_id: id.to_bytes(),
            page_size: MEMBERS_PAGE_SIZE,
            page_token: String::new(),
        };
        let mut members = Vec::new();
        loop {
            let call =
                |channel, request| async move { Stub::new(channel).list_members(request).await };
            let page = self.call(request.clone(), call).await?;
            members.extend(page.members);
            if page.next_page_token.is_empty() {
                return Ok(members);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes the caller's own settings of a conversation: mute, pin.
    pub async fn update_settings(&self, settings: v1::ConversationSettings) -> Result<(), Error> {
        let request = v1::UpdateConversationSettingsRequest {
            settings: Some(settings),
        };
        let call = |channel, request| async move {
            Stub::new(channel)
                .update_conversation_settings(request)
                .await
        };
        self.call(request, call).await.map(drop)
    }
}
