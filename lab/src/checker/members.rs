//! What members did besides sending: leaves that were answered, messages that they received.
//!
//! Invariant: nobody is judged whose devices did not finish, nor a conversation of which no mark
//! was told at all.

use std::collections::{HashMap, HashSet};

use super::history::History;
use super::log::Log;
use super::record::{Event, Kind};
use super::{Report, Verdict, deliveries};

pub(super) fn check(history: &History, log: &Log, report: &mut Report) {
    check_leaves(history, report);
    check_receipts(history, log, report);
}

/// A leave that was answered ends a membership, at the seq that was named.
fn check_leaves(history: &History, report: &mut Report) {
    let windows = deliveries::windows(history);
    for leave in &history.leaves {
        let theirs = windows.get(&(leave.user, leave.conversation));
        let mut ends = theirs.into_iter().flatten().map(|window| window.until);
        if !ends.any(|end| end == Some(leave.seq)) {
            report.add(Verdict::Lost, || {
                let user = &history.users[leave.user as usize];
                let name = &history.conversations[leave.conversation as usize];
                format!(
                    "{user} left {name} at seq {}, and the log knows nothing of it",
                    leave.seq
                )
            });
        }
    }
}

/// The others have been told of the last message that each member received.
fn check_receipts(history: &History, log: &Log, report: &mut Report) {
    let mut told: HashMap<(u32, u32), u64> = HashMap::new();
    let mut tells: HashSet<u32> = HashSet::new();
    for mark in &history.marks {
        let of = told.entry((mark.conversation, mark.user)).or_default();
        *of = mark.delivered.max(*of);
        tells.insert(mark.conversation);
    }
    let finished = history.finals.iter().map(|last| {
        let user = history.devices[last.device as usize].user;
        (last.conversation, user)
    });
    let finished: HashSet<(u32, u32)> = finished.collect();
    for (&(user, conversation), windows) in &deliveries::windows(history) {
        let open = windows.iter().find(|window| window.until.is_none());
        let (Some(open), true) = (open, tells.contains(&conversation)) else {
            continue;
        };
        let last = |own: bool| {
            let fits = |event: &&Event| {
                let is_own = event.sender == user;
                event.kind == Kind::Message && event.seq >= open.since && is_own == own
            };
            let messages = log.of(conversation).iter();
            messages.rev().find(fits).map_or(0, |event| event.seq)
        };
        // One's own message says that one has what stands before it.
        let (due, own) = (last(false), last(true));
        let known = told
            .get(&(conversation, user))
            .copied()
            .unwrap_or(0)
            .max(own);
        if known < due && finished.contains(&(conversation, user)) {
            report.add(Verdict::StateDivergence, || {
                let user = &history.users[user as usize];
                let name = &history.conversations[conversation as usize];
                format!("{name}: {user} received seq {due}, the others know of {known}")
            });
        }
    }
}
