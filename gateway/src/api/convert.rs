//! Convert: rows as owners tell them, as clients see them.
//!
//! Pure.

use heddle_proto::{
    ids::LogId,
    internal::{GrantResult, MemberRow, UserRow},
    time,
    v1::{self, Conversation, ConversationKind, Member},
};

/// Marks are told in conversations of up to so many members.
pub const MARKS_MEMBERS_MAX: u32 = 32;

/// A conversation as the caller of a grant sees it.
pub fn conversation(log: LogId, grant: &GrantResult) -> Conversation {
    let row = grant.conversation.clone().unwrap_or_default();
    Conversation {
        conversation_id: log.to_bytes(),
        kind: row.kind,
        title: row.title,
        creator: row.creator,
        create_time: (row.create_time_ms > 0).then(|| time::timestamp(row.create_time_ms)),
        head_seq: grant.ranges.last().map_or(0, |range| range.to_seq),
        member_count: grant.member_count,
    }
}

/// A conversation of which only the id is known any more.
pub fn unknown(conversation_id: bytes::Bytes) -> Conversation {
    let kind = ConversationKind::Unspecified.into();
    Conversation {
        conversation_id,
        kind,
        ..Default::default()
    }
}

/// A member.
pub fn member(row: &MemberRow) -> Member {
    Member {
        user_id: row.user_id.clone(),
        role: row.role,
        since_seq: row.since_seq,
        delivered_seq: row.delivered_seq,
        read_seq: row.read_seq,
    }
}

/// The members of a grant, where marks are kept.
pub fn members(grant: &GrantResult) -> Vec<Member> {
    if grant.member_count > MARKS_MEMBERS_MAX {
        return Vec::new();
    }
    grant.members.iter().map(member).collect()
}

/// The marks of a grant's members.
pub fn marks(log: LogId, grant: &GrantResult) -> Vec<v1::MarkState> {
    if grant.member_count > MARKS_MEMBERS_MAX {
        return Vec::new();
    }
    let mark = |row: &MemberRow| v1::MarkState {
        conversation_id: log.to_bytes(),
        user_id: row.user_id.clone(),
        delivered_seq: row.delivered_seq,
        read_seq: row.read_seq,
        read_ordinal: row.read_ordinal,
    };
    grant.members.iter().map(mark).collect()
}

/// A user.
pub fn user(user_id: &str, row: UserRow) -> v1::User {
    v1::User {
        user_id: user_id.to_owned(),
        name: row.name,
        avatar_url: row.avatar_url,
        create_time: Some(time::timestamp(row.create_time_ms)),
        update_time: Some(time::timestamp(row.update_time_ms)),
    }
}
