//! Conversations: create, look at, change, list.
//!
//! Whatever changes a conversation is an event appended by its owner. `members` has the membership
//! calls, `summaries` makes the list's entries.

use super::{Api, Caller, convert};
use crate::{
    commands,
    validate::{At, push_settings},
};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{append_command::Kind, command::Op, command_result::Outcome},
    v1::{
        self, ConversationKind, ErrorReason, MembershipAction, MembershipChange, SettingsChange,
        conversation_service_server::ConversationService,
    },
};
use tonic::{Request, Response, Status, async_trait};

type Answer<T> = Result<Response<T>, Status>;

const TITLE_CHARS_MAX: usize = 200;

impl Api {
    async fn create(
        &self,
        caller: &Caller,
        request: v1::CreateConversationRequest,
    ) -> Result<v1::Conversation, Fault> {
        let at = At::CALL;
        self.rules().message_id(at, &request.client_message_id)?;
        at.chars("title", &request.title, TITLE_CHARS_MAX)?;
        let kind = request.kind();
        let log = match kind {
            ConversationKind::Direct => self.direct(caller, &request)?,
            ConversationKind::Group => {
                self.check_group(caller, &request.user_ids)?;
                LogId::group(caller.user_id(), &request.client_message_id)
            }
            ConversationKind::Unspecified => {
                return Err(at.fault("kind", "must be DIRECT or GROUP"));
            }
        };
        let mut user_ids = vec![caller.user_id().to_owned()];
        for user in request.user_ids {
            if !user_ids.contains(&user) {
                user_ids.push(user);
            }
        }
        let created = MembershipChange {
            action: MembershipAction::Created.into(),
            user_ids,
            conversation_kind: kind.into(),
            title: request.title,
            ..Default::default()
        };
        let kind = Kind::Membership(created);
        self.append(
            caller,
            commands::append(log, request.client_message_id, kind),
        )
        .await?;
        Ok(convert::conversation(
            log,
            &self.grant(caller, log, 0, String::new()).await?,
        ))
    }

    fn direct(
        &self,
        caller: &Caller,
        request: &v1::CreateConversationRequest,
    ) -> Result<LogId, Fault> {
        let at = At::CALL;
        at.users("user_ids", &request.user_ids, 1)?;
        let [other] = request.user_ids.as_slice() else {
            return Err(at.fault("user_ids", "a direct conversation has exactly one other"));
        };
        if other == caller.user_id() {
            return Err(at.fault("user_ids", "must name somebody else"));
        }
        if !request.title.is_empty() {
            return Err(at.fault("title", "a direct conversation has none"));
        }
        Ok(LogId::direct(caller.user_id(), other))
    }

    fn check_group(&self, caller: &Caller, user_ids: &[String]) -> Result<(), Fault> {
        let members_max = self.edge.options.limits.group_members_max as usize;
        let others = user_ids
            .iter()
            .filter(|user| *user != caller.user_id())
            .count();
        if others + 1 > members_max {
            let text = format!(
                "a group may have {members_max} members here; the operator raises \
                 limits.group_members_max"
            );
            let fault = Fault::new(ErrorReason::GroupFull, text);
            return Err(Fault {
                field: "user_ids".into(),
                ..fault
            });
        }
        At::CALL.users("user_ids", user_ids, members_max)
    }

    async fn look(
        &self,
        caller: &Caller,
        request: v1::GetConversationRequest,
    ) -> Result<v1::GetConversationResponse, Fault> {
        let log = At::CALL.conversation(&request.conversation_id)?;
        let members_max = convert::MARKS_MEMBERS_MAX;
        let grant = self.grant(caller, log, members_max, String::new()).await?;
        Ok(v1::GetConversationResponse {
            conversation: Some(convert::conversation(log, &grant)),
            membership: grant.membership.as_ref().map(convert::member),
            members: convert::members(&grant),
        })
    }

    async fn settings(
        &self,
        caller: &Caller,
        request: v1::UpdateConversationSettingsRequest,
    ) -> Result<(), Fault> {
        let at = At("settings");
        let settings = request
            .settings
            .ok_or_else(|| At::CALL.fault("settings", "is missing"))?;
        at.conversation(&settings.conversation_id)?;
        if settings
            .muted_until_time
            .is_some_and(|time| time.seconds < 0 || time.nanos < 0)
        {
            return Err(at.fault("muted_until_time", "must not be before 1970"));
        }
        push_settings::level(at, "push_level", settings.push_level)?;
        match self
            .ask(caller, caller.mailbox(), Op::Settings(settings))
            .await?
        {
            Outcome::Done(_) => Ok(()),
            _ => Err(crate::answers::unexpected()),
        }
    }

    async fn rename(
        &self,
        caller: &Caller,
        request: v1::UpdateConversationRequest,
    ) -> Result<u64, Fault> {
        let log = At::CALL.conversation(&request.conversation_id)?;
        self.rules()
            .message_id(At::CALL, &request.client_message_id)?;
        At::CALL.chars("title", &request.title, TITLE_CHARS_MAX)?;
        let kind = Kind::Settings(SettingsChange {
            title: request.title,
        });
        self.append(
            caller,
            commands::append(log, request.client_message_id, kind),
        )
        .await
    }
}

#[async_trait]
impl ConversationService for Api {
    async fn create_conversation(
        &self,
        request: Request<v1::CreateConversationRequest>,
    ) -> Answer<v1::CreateConversationResponse> {
        let caller = self
            .caller(request.metadata(), "CreateConversation")
            .await?;
        let conversation = Some(self.create(&caller, request.into_inner()).await?);
        Ok(Response::new(v1::CreateConversationResponse {
            conversation,
        }))
    }

    async fn get_conversation(
        &self,
        request: Request<v1::GetConversationRequest>,
    ) -> Answer<v1::GetConversationResponse> {
        let caller = self.caller(request.metadata(), "GetConversation").await?;
        Ok(Response::new(
            self.look(&caller, request.into_inner()).await?,
        ))
    }

    async fn list_conversations(
        &self,
        request: Request<v1::ListConversationsRequest>,
    ) -> Answer<v1::ListConversationsResponse> {
        let caller = self.caller(request.metadata(), "ListConversations").await?;
        Ok(Response::new(
            self.list(&caller, request.into_inner()).await?,
        ))
    }

    async fn update_conversation(
        &self,
        request: Request<v1::UpdateConversationRequest>,
    ) -> Answer<v1::UpdateConversationResponse> {
        let caller = self
            .caller(request.metadata(), "UpdateConversation")
            .await?;
        let seq = self.rename(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::UpdateConversationResponse { seq }))
    }

    async fn add_members(
        &self,
        request: Request<v1::AddMembersRequest>,
    ) -> Answer<v1::AddMembersResponse> {
        let caller = self.caller(request.metadata(), "AddMembers").await?;
        let seq = self.add(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::AddMembersResponse { seq }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Answer<v1::RemoveMemberResponse> {
        let caller = self.caller(request.metadata(), "RemoveMember").await?;
        let seq = self.remove(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::RemoveMemberResponse { seq }))
    }

    async fn leave_conversation(
        &self,
        request: Request<v1::LeaveConversationRequest>,
    ) -> Answer<v1::LeaveConversationResponse> {
        let caller = self.caller(request.metadata(), "LeaveConversation").await?;
        let seq = self.leave(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::LeaveConversationResponse { seq }))
    }

    async fn set_member_role(
        &self,
        request: Request<v1::SetMemberRoleRequest>,
    ) -> Answer<v1::SetMemberRoleResponse> {
        let caller = self.caller(request.metadata(), "SetMemberRole").await?;
        let seq = self.set_role(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::SetMemberRoleResponse { seq }))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Answer<v1::ListMembersResponse> {
        let caller = self.caller(request.metadata(), "ListMembers").await?;
        Ok(Response::new(
            self.members(&caller, request.into_inner()).await?,
        ))
    }

    async fn update_conversation_settings(
        &self,
        request: Request<v1::UpdateConversationSettingsRequest>,
    ) -> Answer<v1::UpdateConversationSettingsResponse> {
        let caller = self
            .caller(request.metadata(), "UpdateConversationSettings")
            .await?;
        self.settings(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::UpdateConversationSettingsResponse {}))
    }
}
