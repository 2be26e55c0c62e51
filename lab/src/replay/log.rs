//! One room's log as the server tells it, and what follows from it for each user.
//!
//! Invariant: who is due what is computed from the log's membership events alone.

use std::collections::HashMap;

use heddle_proto::v1::{self, MembershipAction, event};
use heddle_sdk::{Client, ConversationId};

use super::ReplayError;
use super::line::Line;
use crate::target::conversation::{is_message, read_log};

/// A stretch of membership: first seq due, first seq no longer due.
type Stretch = (u64, Option<u64>);

/// What stands in one room's log.
pub struct Log {
    /// By seq.
    pub events: Vec<v1::Event>,
    /// By user index.
    stretches: Vec<Vec<Stretch>>,
}

/// What a user did in a room, in the order of the log or of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Became a member.
    Joined,
    /// Ceased to be one.
    Left,
    /// Said something.
    Said(Line),
}

impl Log {
    /// Read by one who was a member from the first event on.
    pub async fn read(
        client: &Client,
        room: ConversationId,
        indices: &HashMap<&str, usize>,
    ) -> Result<Log, ReplayError> {
        let events = read_log(client, room).await?;
        let stretches = stretches(&events, indices);
        Ok(Log { events, stretches })
    }

    /// The last seq.
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// The runs of seqs that are due to a user.
    pub fn due(&self, user: usize) -> Vec<(u64, u64)> {
        let head = self.head();
        let stretches = self.stretches[user].iter();
        let runs = stretches.map(|&(since, until)| (since, until.map_or(head, |until| until - 1)));
        runs.filter(|(since, end)| since <= end).collect()
    }

    /// Since when a user has been a member, for those who are.
    pub fn member_since(&self, user: usize) -> Option<u64> {
        let last = self.stretches[user].last()?;
        last.1.is_none().then_some(last.0)
    }

    /// The user's newest message.
    pub fn last_message_of(&self, id: &str) -> u64 {
        let own = self
            .events
            .iter()
            .rev()
            .find(|event| is_message(event) && event.sender == id);
        own.map_or(0, |event| event.seq)
    }

    /// The newest message of anybody else.
    pub fn last_message_not_of(&self, id: &str) -> u64 {
        let others = self
            .events
            .iter()
            .rev()
            .find(|event| is_message(event) && event.sender != id);
        others.map_or(0, |event| event.seq)
    }

    /// Others' messages after a seq.
    pub fn unread(&self, id: &str, after: u64) -> u64 {
        let later = self.events.iter().filter(|event| event.seq > after);
        later
            .filter(|event| is_message(event) && event.sender != id)
            .count() as u64
    }

    /// What a user did, in order.
    pub fn deeds(&self, id: &str) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for event in &self.events {
            match &event.kind {
                Some(event::Kind::Message(message)) if event.sender == id => {
                    deeds.extend(Line::from_message(message).map(Deed::Said));
                }
                Some(event::Kind::Membership(change)) => {
                    let named = change.user_ids.iter().any(|user| user == id);
                    match change.action() {
                        MembershipAction::Created | MembershipAction::Added if named => {
                            deeds.push(Deed::Joined);
                        }
                        MembershipAction::Left if named || event.sender == id => {
                            deeds.push(Deed::Left);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        deeds
    }
}

fn stretches(events: &[v1::Event], indices: &HashMap<&str, usize>) -> Vec<Vec<Stretch>> {
    let mut stretches = vec![Vec::new(); indices.len()];
    for event in events {
        let Some(event::Kind::Membership(change)) = &event.kind else {
            continue;
        };
        let mut who: Vec<&str> = change.user_ids.iter().map(String::as_str).collect();
        let action = change.action();
        if action == MembershipAction::Left && who.is_empty() {
            who.push(&event.sender);
        }
        for user in who.into_iter().filter_map(|id| indices.get(id)) {
            let mine: &mut Vec<Stretch> = &mut stretches[*user];
            match action {
                MembershipAction::Created | MembershipAction::Added
                    if mine.last().is_none_or(|last| last.1.is_some()) =>
                {
                    mine.push((event.seq, None));
                }
                MembershipAction::Left | MembershipAction::Removed => {
                    if let Some(last) = mine.last_mut() {
                        last.1.get_or_insert(event.seq);
                    }
                }
                _ => {}
            }
        }
    }
    stretches
}

/// How the runs that came differ from those that were due.
pub fn kind_of_difference(due: &[(u64, u64)], seen: &[(u64, u64)]) -> &'static str {
    let is_in = |runs: &[(u64, u64)], seq| runs.iter().any(|run| (run.0..=run.1).contains(&seq));
    let sum = |runs: &[(u64, u64)]| runs.iter().map(|run| run.1 + 1 - run.0).sum::<u64>();
    if due
        .iter()
        .any(|run| (run.0..=run.1).any(|seq| !is_in(seen, seq)))
    {
        "lost"
    } else if seen
        .iter()
        .any(|run| (run.0..=run.1).any(|seq| !is_in(due, seq)))
    {
        "seen_by_stranger"
    } else if sum(seen) > sum(due) {
        "duplicated"
    } else {
        "order"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_names() {
        let due = [(1, 9), (20, 30)];
        assert_eq!(kind_of_difference(&due, &[(1, 9), (20, 29)]), "lost");
        assert_eq!(
            kind_of_difference(&due, &[(1, 10), (20, 30)]),
            "seen_by_stranger"
        );
        assert_eq!(
            kind_of_difference(&due, &[(1, 9), (9, 9), (20, 30)]),
            "duplicated"
        );
        assert_eq!(kind_of_difference(&due, &[(20, 30), (1, 9)]), "order");
    }
}
