//! What must be true of the pushes that arrived, once all is quiet. Pure.
//!
//! Invariant: judged are only devices whose end is known: what is unread in each conversation, and
//! what the true badge is.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::provider::Arrived;

/// How a user stands in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The last message of each conversation, and whether it was read.
    pub conversations: BTreeMap<String, (u64, bool)>,
    /// Unread messages in all.
    pub badge: u64,
}

/// How often each promise was broken.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Verdicts {
    /// A device was never told of a message that waits for it.
    pub missing: u64,
    /// The last push does not have the true badge.
    pub badge_wrong: u64,
    /// What was read still shows: no clear came after its last push.
    pub not_cleared: u64,
    /// A push told of a message that an earlier clear had taken away.
    pub after_clear: u64,
    /// One push came under different collapse keys.
    pub keys_differ: u64,
    /// A push came to somebody whom nobody wrote to.
    pub strangers: u64,
}

impl Verdicts {
    /// Nothing was broken.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        self.badge_wrong += other.badge_wrong;
        self.not_cleared += other.not_cleared;
        self.after_clear += other.after_clear;
        self.keys_differ += other.keys_differ;
        self.strangers += other.strangers;
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(u64::MAX)
}

/// Judges what arrived against how each user stands in the end.
pub fn judge(ends: &BTreeMap<String, End>, arrived: &[Arrived]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for push in arrived {
        keys.entry(&push.push_id)
            .or_default()
            .insert(&push.conversation_id);
        verdicts.strangers += u64::from(!ends.contains_key(&push.user_id));
    }
    verdicts.keys_differ = keys.values().filter(|keys| keys.len() > 1).count() as u64;
    for (user_id, end) in ends {
        let his: Vec<_> = arrived.iter().filter(|it| it.user_id == *user_id).collect();
        judge_user(end, &his, &mut verdicts);
    }
    verdicts
}

fn judge_user(end: &End, arrived: &[&Arrived], verdicts: &mut Verdicts) {
    let badge = arrived.last().map_or(0, |last| number(&last.badge));
    verdicts.badge_wrong += u64::from(badge != end.badge);
    for (conversation, &(last_seq, read)) in &end.conversations {
        let of: Vec<_> = arrived
            .iter()
            .filter(|push| push.conversation_id == *conversation)
            .collect();
        let shows = |push: &&&&Arrived| matches!(&*push.action, "message" | "update");
        let told = of.iter().filter(shows);
        let told_of = told.map(|push| number(&push.seq)).max().unwrap_or(0);
        let shown = of.last().is_some_and(|last| last.action != "clear");
        match read {
            true => verdicts.not_cleared += u64::from(shown),
            false => verdicts.missing += u64::from(told_of < last_seq || !shown),
        }
        verdicts.after_clear += cleared_and_told(&of);
    }
}

/// Pushes about messages that a clear before them had taken away: whoever sent one knew of the
/// clear.
fn cleared_and_told(of: &[&&Arrived]) -> u64 {
    let (mut told, mut cleared, mut broken) = (0, 0, 0);
    for push in of {
        let seq = number(&push.seq);
        match &*push.action {
            "clear" => cleared = told,
            "message" if seq <= cleared => broken += 1,
            _ => told = told.max(seq),
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(action: &str, push_id: &str, seq: u64, badge: u64) -> Arrived {
        Arrived {
            action: action.into(),
            push_id: push_id.into(),
            user_id: "bob".into(),
            conversation_id: "talk".into(),
            seq: seq.to_string(),
            badge: badge.to_string(),
        }
    }

    fn ends(last_seq: u64, read: bool, badge: u64) -> BTreeMap<String, End> {
        let conversations = BTreeMap::from([("talk".to_owned(), (last_seq, read))]);
        let end = End {
            conversations,
            badge,
        };
        BTreeMap::from([("bob".to_owned(), end)])
    }

    #[test]
    fn what_is_right_breaks_nothing() {
        let unread = [
            push("message", "1", 3, 2),
            push("message", "1", 3, 2),
            push("message", "2", 5, 4),
        ];
        assert!(judge(&ends(5, false, 4), &unread).is_clean());
        let read = [push("message", "1", 3, 2), push("clear", "2", 0, 0)];
        assert!(judge(&ends(3, true, 0), &read).is_clean());
        let again = [&read[..], &[push("message", "3", 4, 1)]].concat();
        assert!(judge(&ends(4, false, 1), &again).is_clean());
        assert!(judge(&ends(3, true, 0), &[]).is_clean(), "read in time");
    }

    #[test]
    fn each_broken_promise_has_its_verdict() {
        let ends_unread = ends(5, false, 4);
        let missing = judge(&ends_unread, &[push("message", "1", 3, 4)]);
        assert_eq!((missing.missing, missing.badge_wrong), (1, 0));
        let badge = judge(&ends_unread, &[push("message", "1", 5, 3)]);
        assert_eq!((badge.missing, badge.badge_wrong), (0, 1));
        let shown = judge(&ends(5, true, 0), &[push("message", "1", 5, 0)]);
        assert_eq!(shown.not_cleared, 1);
        let late = [
            push("message", "1", 5, 1),
            push("clear", "2", 0, 0),
            push("message", "1", 5, 1),
            push("clear", "3", 0, 0),
        ];
        assert_eq!(judge(&ends(5, true, 0), &late).after_clear, 1);
        let mut other = push("message", "1", 5, 4);
        other.conversation_id = "other".into();
        let keys = judge(&ends_unread, &[other, push("message", "1", 5, 4)]);
        assert_eq!(keys.keys_differ, 1);
        let nobody = judge(&BTreeMap::new(), &[push("message", "1", 5, 4)]);
        assert_eq!(nobody.strangers, 1);
    }
}
