//! Membership: creating a conversation, joining, leaving, roles.
//!
//! [`super::append`] asks for it as one of the kinds of event; [`super::rules`] says who may. The
//! roster moves with the accepted event, and who is removed is told so in the own mailbox.

use super::{Conversation, append::Consequences, event::Origin, rules::room_for};
use crate::cells;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::{FanOutState, MemberRow},
    time,
    v1::{self, MembershipAction, MembershipChange, Role},
};
use prost::Message as _;

impl Conversation {
    /// Applies a change of members; `false`: there is nothing to change.
    pub(super) fn membership(
        &mut self,
        origin: Origin<'_>,
        seq: u64,
        change: &mut MembershipChange,
        members_max: usize,
        consequences: &mut Consequences,
    ) -> Result<bool, Fault> {
        match change.action() {
            MembershipAction::Created => {
                self.may_create(
                    origin.user_id,
                    origin.client_message_id,
                    change,
                    members_max,
                )?;
                self.create(origin, seq, change, consequences);
            }
            MembershipAction::Added => {
                return self.add(origin, seq, change, members_max, consequences);
            }
            MembershipAction::Removed => {
                let member = self.member_or_not_found(origin.user_id)?;
                self.may_manage(member, "removing a member")?;
                let [user_id] = change.user_ids.as_slice() else {
                    return Err(Fault::field("user_id", "name one member"));
                };
                let user_id = user_id.clone();
                let who = self
                    .roster
                    .member(&user_id)
                    .ok_or_else(|| Fault::not_found("member"))?;
                self.may_go(member, who)?;
                self.go(&user_id, seq, origin.time_ms, consequences);
            }
            MembershipAction::Left => {
                let member = self.member_or_not_found(origin.user_id)?;
                self.group_only("leaving")?;
                self.may_go(member, member)?;
                change.user_ids = vec![origin.user_id.to_owned()];
                self.go(origin.user_id, seq, origin.time_ms, consequences);
            }
            MembershipAction::RoleSet => self.role_set(origin, seq, change, consequences)?,
            MembershipAction::Unspecified => {
                return Err(Fault::field("membership.action", "say what happens"));
            }
        }
        Ok(true)
    }

    /// New members; `false`: all are members already.
    fn add(
        &mut self,
        origin: Origin<'_>,
        seq: u64,
        change: &MembershipChange,
        members_max: usize,
        consequences: &mut Consequences,
    ) -> Result<bool, Fault> {
        let member = self.member_or_not_found(origin.user_id)?;
        self.may_manage(member, "adding members")?;
        let new: Vec<_> = change
            .user_ids
            .iter()
            .filter(|user_id| self.roster.member(user_id).is_none())
            .cloned()
            .collect();
        room_for(self.roster.member_count() + new.len(), members_max)?;
        if new.is_empty() {
            return Ok(false);
        }
        let role = Role::try_from(change.role)
            .unwrap_or(Role::Member)
            .max(Role::Member);
        if role > Role::Member {
            self.may_set_role(member)?;
        }
        self.join_all(&new, role, seq, consequences);
        Ok(true)
    }

    fn role_set(
        &mut self,
        origin: Origin<'_>,
        seq: u64,
        change: &MembershipChange,
        consequences: &mut Consequences,
    ) -> Result<(), Fault> {
        let member = self.member_or_not_found(origin.user_id)?;
        self.may_set_role(member)?;
        let [user_id] = change.user_ids.as_slice() else {
            return Err(Fault::field("user_id", "name one member"));
        };
        if change.role() == Role::Unspecified {
            return Err(Fault::field(
                "role",
                "say which role: member, admin or owner",
            ));
        }
        let who = self
            .roster
            .member(user_id)
            .ok_or_else(|| Fault::not_found("member"))?;
        if change.role() != Role::Owner {
            self.may_go(member, who)?;
        }
        let row = self.roster.set_role(user_id, change.role(), seq);
        consequences
            .cells
            .extend(row.map(|row| cells::member(&self.id, &row)));
        Ok(())
    }

    fn create(
        &mut self,
        origin: Origin<'_>,
        seq: u64,
        change: &MembershipChange,
        consequences: &mut Consequences,
    ) {
        self.row.kind = change.conversation_kind;
        self.row.title.clone_from(&change.title);
        self.row.creator = origin.user_id.to_owned();
        self.row.create_time_ms = origin.time_ms;
        self.row.seq = seq;
        consequences
            .cells
            .push(cells::conversation(&self.id, &self.row));
        let direct = self.is_direct();
        for user_id in &change.user_ids {
            let owns = !direct && user_id == origin.user_id;
            let role = if owns { Role::Owner } else { Role::Member };
            self.join_all(std::slice::from_ref(user_id), role, seq, consequences);
        }
    }

    fn join_all(
        &mut self,
        user_ids: &[String],
        role: Role,
        seq: u64,
        consequences: &mut Consequences,
    ) {
        for user_id in user_ids {
            let row = self.roster.join(user_id, role, seq, self.ordinal);
            consequences.cells.push(cells::member(&self.id, &row));
        }
    }

    fn go(&mut self, user_id: &str, seq: u64, time_ms: u64, consequences: &mut Consequences) {
        let Some(row) = self.roster.leave(user_id, seq) else {
            return;
        };
        consequences.cells.push(cells::member(&self.id, &row));
        consequences.states.push(self.left(&row, time_ms));
    }

    /// Tells who left where the membership ended.
    fn left(&self, row: &MemberRow, time_ms: u64) -> FanOutState {
        let membership = v1::MembershipState {
            conversation_id: self.id.to_bytes(),
            since_seq: row.since_seq,
            until_seq: row.until_seq,
        };
        let change = v1::StateChange {
            create_time: Some(time::timestamp(time_ms)),
            kind: Some(v1::state_change::Kind::Membership(membership)),
        };
        FanOutState {
            user_id: row.user_id.clone(),
            state: Bytes::from(change.encode_to_vec()),
        }
    }

    /// The same for all memberships that ended within a stretch of the log, for a new owner.
    pub fn left_within(&self, first_seq: u64, last_seq: u64, time_ms: u64) -> Vec<FanOutState> {
        let ended = self.roster.ended_within(first_seq, last_seq);
        ended.map(|row| self.left(row, time_ms)).collect()
    }
}
