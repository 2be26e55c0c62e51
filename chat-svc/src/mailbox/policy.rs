//! The push policy, pure: whether a conversation's waiting messages are worth a push, and which
//! devices get it (P9).
//!
//! `super::push` says what waits, the list how the user stands to the conversation; the shard
//! sends what [`subject`] and [`devices_due`] allow.
//!
//! Invariant: nothing here depends on order or on earlier decisions, so that a push that is made
//! again after a crash is judged alike.

use super::{
    list,
    push::{Device, Place, Waiting},
    quiet,
};
use heddle_proto::{
    internal::ListEntry,
    time,
    v1::{PushLevel, UserPushSettings},
};
use std::collections::HashMap;

/// Why a conversation leads to no push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The user is no member any more.
    Left,
    /// The user has read it, on whichever device.
    Read,
    /// Whatever waited was erased or hidden.
    NothingUnread,
    /// The conversation, or all of them, are muted until later.
    Muted,
    /// The user wants none of this conversation.
    Nothing,
    /// The user wants mentions only, and nobody was mentioned.
    NoMention,
}

/// Which messages of a conversation the user wants pushed.
fn level(entry: &ListEntry, user: &UserPushSettings) -> PushLevel {
    let of = |level: PushLevel| (level != PushLevel::Unspecified).then_some(level);
    of(entry.push_level())
        .or_else(|| of(user.level()))
        .unwrap_or(PushLevel::All)
}

/// The message that a push would be about: the newest one, or the newest that mentions the user
/// where only those count.
pub fn subject(
    entry: &ListEntry,
    waiting: &Waiting,
    user: &UserPushSettings,
    now_ms: u64,
) -> Result<Place, Why> {
    if entry.until_seq > 0 {
        return Err(Why::Left);
    }
    let muted_until_ms = user.muted_until_time.as_ref().map_or(0, time::millis);
    if entry.muted_until_ms.max(muted_until_ms) > now_ms {
        return Err(Why::Muted);
    }
    let mentions_only = match level(entry, user) {
        PushLevel::Nothing => return Err(Why::Nothing),
        PushLevel::Mentions => !entry.direct,
        PushLevel::All | PushLevel::Unspecified => false,
    };
    let place = match mentions_only {
        true => waiting.mention.ok_or(Why::NoMention)?,
        false => waiting.last,
    };
    if entry.read_seq >= place.seq {
        return Err(Why::Read);
    }
    match list::unread(entry) {
        0 => Err(Why::NothingUnread),
        _ if mentions_only && entry.mention_seqs.is_empty() => Err(Why::NothingUnread),
        _ => Ok(place),
    }
}

/// The devices that get the push about `place`, by id: those that have not acknowledged it and are
/// not in their quiet hours, unless another one has while in the foreground.
pub fn devices_due(devices: &HashMap<String, Device>, place: Place, now_ms: u64) -> Vec<String> {
    let seen = devices
        .values()
        .any(|device| device.cursor.foreground_position >= place.position);
    if seen {
        return Vec::new();
    }
    let is_quiet = |device: &Device| {
        let settings = device.row.push.as_ref();
        let hours = settings.and_then(|settings| settings.quiet_hours.as_ref());
        hours.is_some_and(|hours| quiet::is_quiet(hours, now_ms))
    };
    let due = |device: &Device| {
        !device.is_revoked() && device.cursor.position < place.position && !is_quiet(device)
    };
    let mut due: Vec<_> = devices
        .iter()
        .filter(|(_, device)| due(device))
        .map(|(id, _)| id.clone())
        .collect();
    due.sort_unstable();
    due
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
