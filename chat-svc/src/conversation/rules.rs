//! Who may do what: roles, direct conversations, and what an event may refer to.
//!
//! [`super::append`] asks these before anything is built. Strangers and missing things get the same
//! answer (P7).

use super::{Conversation, tail::Fact};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::MemberRow,
    v1::{ConversationKind, ErrorReason, MembershipChange, Role},
};

/// The least role that may do something.
fn at_least(member: &MemberRow, role: Role, what: &str) -> Result<(), Fault> {
    if member.role >= role as i32 {
        return Ok(());
    }
    let needed = role
        .as_str_name()
        .trim_start_matches("ROLE_")
        .to_lowercase();
    let text = format!("{what} takes the role of {needed} in this conversation");
    Err(Fault::new(ErrorReason::RoleRequired, text))
}

impl Conversation {
    /// The sender's open membership; strangers and former members find nothing.
    pub(super) fn member_or_not_found(&self, user_id: &str) -> Result<&MemberRow, Fault> {
        self.roster
            .member(user_id)
            .ok_or_else(|| Fault::not_found("conversation"))
    }

    /// A message that the sender may see and that still has a body.
    pub(super) fn target(&self, member: &MemberRow, seq: u64, fact: &Fact) -> Result<(), Fault> {
        if seq < member.since_seq || !fact.is_message {
            return Err(Fault::not_found("message"));
        }
        Ok(())
    }

    pub(super) fn may_edit(&self, member: &MemberRow, fact: &Fact) -> Result<(), Fault> {
        if fact.erased {
            return Err(Fault::not_found("message"));
        }
        if fact.sender != member.user_id {
            let text = "only its sender may edit a message";
            return Err(Fault::new(ErrorReason::RoleRequired, text));
        }
        Ok(())
    }

    pub(super) fn may_erase(&self, member: &MemberRow, fact: &Fact) -> Result<(), Fault> {
        if fact.sender == member.user_id {
            return Ok(());
        }
        at_least(
            member,
            Role::Admin,
            "deleting another's message for everyone",
        )
    }

    pub(super) fn may_manage(&self, member: &MemberRow, what: &str) -> Result<(), Fault> {
        self.group_only(what)?;
        at_least(member, Role::Admin, what)
    }

    pub(super) fn may_set_role(&self, member: &MemberRow) -> Result<(), Fault> {
        self.group_only("giving a role")?;
        at_least(member, Role::Owner, "giving a role")
    }

    pub(super) fn group_only(&self, what: &str) -> Result<(), Fault> {
        if self.is_direct() {
            return Err(Fault::field(
                "conversation_id",
                format!("{what} is not possible in a direct conversation"),
            ));
        }
        Ok(())
    }

    /// Owners may only be removed by owners, and one of them must stay while others do.
    pub(super) fn may_go(&self, by: &MemberRow, who: &MemberRow) -> Result<(), Fault> {
        if who.role != Role::Owner as i32 {
            return Ok(());
        }
        at_least(by, Role::Owner, "removing an owner")?;
        let mut owners = self
            .roster
            .members()
            .filter(|(row, _)| row.role == Role::Owner as i32);
        let is_last_owner = owners.nth(1).is_none();
        if is_last_owner && self.roster.member_count() > 1 {
            let text = "the last owner cannot go; give another member the role of owner first";
            return Err(Fault::new(ErrorReason::RoleRequired, text));
        }
        Ok(())
    }

    /// A conversation's first event: its id must follow from what it says.
    pub(super) fn may_create(
        &self,
        sender: &str,
        client_message_id: &[u8],
        change: &MembershipChange,
        members_max: usize,
    ) -> Result<(), Fault> {
        let people = &change.user_ids;
        let distinct: std::collections::BTreeSet<_> = people.iter().collect();
        if distinct.len() != people.len() || !people.iter().any(|person| person == sender) {
            return Err(Fault::field("user_ids", "name each member once"));
        }
        let derived = match (change.conversation_kind(), people.as_slice()) {
            (ConversationKind::Direct, [one, other]) => LogId::direct(one, other),
            (ConversationKind::Group, _) => LogId::group(sender, client_message_id),
            _ => {
                return Err(Fault::field(
                    "user_ids",
                    "a direct conversation has two members",
                ));
            }
        };
        if derived != self.id {
            return Err(Fault::field(
                "conversation_id",
                "does not follow from the request",
            ));
        }
        room_for(people.len(), members_max)
    }
}

/// Refuses a group that would be too large.
pub(super) fn room_for(members: usize, members_max: usize) -> Result<(), Fault> {
    if members <= members_max {
        return Ok(());
    }
    let text = format!(
        "the group would have {members} members, the limit is {members_max}: \
         the operator raises limits.group_members_max"
    );
    Err(Fault::new(ErrorReason::GroupFull, text).with("group_members_max", members_max))
}
