//! What may need a push, pure: others' messages that nobody has seen yet, by conversation (P9).
//!
//! [`super::Mailbox`] notes them here; once the grace time is over the shard asks [`super::policy`]
//! about them, passes intents to notify-svc, and says when those are settled.
//!
//! Invariant: the push position is below every message that is not yet settled, so a crash re-sends
//! at worst; of a conversation there is one push in a window, about the newest message.

use heddle_proto::internal::{DeviceCursorRow, DeviceRow, Pointer};
use std::collections::BTreeMap;

/// How long a device may take to acknowledge before it is pushed to, by default, in milliseconds.
pub const PUSH_GRACE_MS: u64 = 5_000;
/// A conversation has one push in so long, by default, in milliseconds: the last of a storm.
pub const PUSH_WINDOW_MS: u64 = 10_000;
/// An intent that is not settled for so long no longer holds up newer messages, in milliseconds:
/// one provider that hangs must not silence the others.
const OVERTAKEN_MS: u64 = 15_000;

/// A conversation's id.
pub type Key = [u8; 16];

/// A device of the mailbox's user.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// As stored.
    pub row: DeviceRow,
    /// How far it has acknowledged.
    pub cursor: DeviceCursorRow,
    /// Conversations have been told what it has, since the mailbox was loaded or since it came
    /// back with more than it had acknowledged.
    pub reported: bool,
    /// Entries above this position may be acknowledged by a resume token alone, so that their
    /// conversations were not told.
    pub unsaid_from: Option<u64>,
}

impl Device {
    /// It was revoked and has had no session since.
    pub fn is_revoked(&self) -> bool {
        self.row.revoked_time_ms > self.row.last_seen_time_ms
    }

    /// A resume token says that the device has everything up to `position`: it acknowledges, even
    /// if those of the session before got lost with its connection. Whether it was news.
    pub fn resumed_at(&mut self, position: u64) -> bool {
        let acknowledged = self.cursor.position;
        if position <= acknowledged {
            return false;
        }
        if std::mem::take(&mut self.reported) {
            self.unsaid_from = None;
        }
        self.unsaid_from.get_or_insert(acknowledged);
        self.cursor.position = position;
        true
    }
}

/// A message's place in the mailbox and in its conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Position in the mailbox.
    pub position: u64,
    /// seq in the conversation.
    pub seq: u64,
}

/// How far a push has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// What it shows is being read.
    Reading,
    /// This intent is on its way, since then.
    Sent(u64, u64),
}

/// Messages of one conversation that may need a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Position of the first of them.
    pub first_position: u64,
    /// The newest.
    pub last: Place,
    /// The newest that mentions the user.
    pub mention: Option<Place>,
    /// When the first came, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How far their push has come.
    pub stage: Stage,
}

impl Waiting {
    /// Messages that came after these belong to the same push.
    fn join(&mut self, newer: Self) {
        self.last = newer.last;
        self.mention = newer.mention.or(self.mention);
        self.stage = Stage::Idle;
    }
}

/// What waits, by conversation.
#[derive(Debug, Default)]
pub struct Pushes {
    waiting: BTreeMap<Key, Waiting>,
    /// Messages that came while an intent of their conversation was on its way.
    next: BTreeMap<Key, Waiting>,
    /// When a conversation's last push went, as long as its window runs.
    pushed_ms: BTreeMap<Key, u64>,
}

impl Pushes {
    /// Notes another's message.
    pub fn note(&mut self, conversation: Key, position: u64, pointer: &Pointer, now_ms: u64) {
        let sent = |waiting: &Waiting| matches!(waiting.stage, Stage::Sent(..));
        let map = match self.waiting.get(&conversation).is_some_and(sent) {
            true => &mut self.next,
            false => &mut self.waiting,
        };
        let waiting = map.entry(conversation).or_insert(Waiting {
            first_position: position,
            since_ms: now_ms,
            ..Waiting::default()
        });
        let seq = pointer.seq;
        waiting.last = Place { position, seq };
        if pointer.mentioned {
            waiting.mention = Some(waiting.last);
        }
    }

    /// Conversations whose grace time and window are over and that have nothing under way; one
    /// whose intent is overtaken goes again, with what came since.
    pub fn due(&mut self, now_ms: u64, grace_ms: u64, window_ms: u64) -> Vec<Key> {
        self.pushed_ms
            .retain(|_, at_ms| *at_ms + window_ms > now_ms);
        for (conversation, waiting) in &mut self.waiting {
            if let Stage::Sent(_, since_ms) = waiting.stage
                && since_ms + OVERTAKEN_MS <= now_ms
                && let Some(newer) = self.next.remove(conversation)
            {
                waiting.join(newer);
            }
        }
        let over = |(conversation, waiting): &(&Key, &Waiting)| {
            waiting.stage == Stage::Idle
                && waiting.since_ms + grace_ms <= now_ms
                && !self.pushed_ms.contains_key(*conversation)
        };
        let due = self.waiting.iter().filter(over);
        due.map(|(conversation, _)| *conversation).collect()
    }

    /// When to look again, in milliseconds since the Unix epoch; `None`: nothing waits for time.
    pub fn due_ms(&self, grace_ms: u64, window_ms: u64) -> Option<u64> {
        let at = |(conversation, waiting): (&Key, &Waiting)| {
            let pushed_ms = self.pushed_ms.get(conversation);
            let window_over_ms = pushed_ms.map_or(0, |at_ms| at_ms + window_ms);
            match waiting.stage {
                Stage::Idle => Some((waiting.since_ms + grace_ms).max(window_over_ms)),
                Stage::Sent(_, since_ms) if self.next.contains_key(conversation) => {
                    Some((since_ms + OVERTAKEN_MS).max(window_over_ms))
                }
                Stage::Reading | Stage::Sent(..) => None,
            }
        };
        self.waiting.iter().filter_map(at).min()
    }

    /// What a conversation has waiting.
    pub fn get(&self, conversation: &Key) -> Option<&Waiting> {
        self.waiting.get(conversation)
    }

    /// What its push shows is being read.
    pub fn reading(&mut self, conversation: &Key) {
        self.change(conversation, Stage::Reading);
    }

    /// An intent is on its way.
    pub fn sent(&mut self, conversation: &Key, intent: u64, now_ms: u64) {
        self.change(conversation, Stage::Sent(intent, now_ms));
        self.pushed_ms.insert(*conversation, now_ms);
    }

    /// Nothing came of it: it is due again.
    pub fn again(&mut self, conversation: &Key) {
        self.change(conversation, Stage::Idle);
        self.pushed_ms.remove(conversation);
        if let (Some(waiting), Some(newer)) = (
            self.waiting.get_mut(conversation),
            self.next.remove(conversation),
        ) {
            waiting.join(newer);
        }
    }

    fn change(&mut self, conversation: &Key, stage: Stage) {
        if let Some(waiting) = self.waiting.get_mut(conversation) {
            waiting.stage = stage;
        }
    }

    /// Whether this intent is the one on its way; one that was overtaken is not.
    pub fn awaits(&self, conversation: &Key, intent: u64) -> bool {
        let stage = self.waiting.get(conversation).map(|waiting| waiting.stage);
        matches!(stage, Some(Stage::Sent(id, _)) if id == intent)
    }

    /// Nothing more is to be done for a conversation's messages so far.
    pub fn settle(&mut self, conversation: &Key) {
        self.waiting.remove(conversation);
        if let Some(next) = self.next.remove(conversation) {
            self.waiting.insert(*conversation, next);
        }
    }

    /// Up to where pushes are settled, given the mailbox's head.
    pub fn position(&self, head: u64) -> u64 {
        let open = self.waiting.values().chain(self.next.values());
        open.map(|waiting| waiting.first_position - 1)
            .min()
            .unwrap_or(head)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: Key = [1; 16];

    fn note(pushes: &mut Pushes, position: u64, now_ms: u64) {
        let pointer = Pointer {
            seq: position,
            mentioned: position == 6,
            ..Default::default()
        };
        pushes.note(TALK, position, &pointer, now_ms);
    }

    fn due(pushes: &mut Pushes, now_ms: u64) -> Option<Waiting> {
        let due = pushes.due(now_ms, PUSH_GRACE_MS, PUSH_WINDOW_MS);
        let first = due.first()?;
        pushes.get(first).cloned()
    }

    #[test]
    fn the_position_stays_below_what_is_not_settled() {
        let mut pushes = Pushes::default();
        note(&mut pushes, 5, 0);
        pushes.sent(&TALK, 77, 0);
        note(&mut pushes, 8, 0);
        assert_eq!(pushes.position(9), 4);
        pushes.settle(&TALK);
        assert_eq!(pushes.position(9), 7);
        pushes.settle(&TALK);
        assert_eq!(pushes.position(9), 9);
    }

    #[test]
    fn a_storm_is_one_push_in_a_window() {
        let mut pushes = Pushes::default();
        (5..8).for_each(|position| note(&mut pushes, position, 0));
        assert_eq!(due(&mut pushes, PUSH_GRACE_MS - 1), None);
        let first = due(&mut pushes, PUSH_GRACE_MS).unwrap();
        assert_eq!((first.first_position, first.last.seq), (5, 7));
        assert_eq!(first.mention.map(|place| place.seq), Some(6));
        pushes.sent(&TALK, 1, PUSH_GRACE_MS);
        pushes.settle(&TALK);
        (8..30).for_each(|position| note(&mut pushes, position, 6_000));
        let over_ms = PUSH_GRACE_MS + PUSH_WINDOW_MS;
        assert_eq!(pushes.due_ms(PUSH_GRACE_MS, PUSH_WINDOW_MS), Some(over_ms));
        assert_eq!(due(&mut pushes, over_ms - 1), None);
        assert_eq!(due(&mut pushes, over_ms).unwrap().last.seq, 29);
    }

    /// A provider that hangs for an hour does not silence the others for so long.
    #[test]
    fn an_intent_that_is_not_settled_is_overtaken() {
        let mut pushes = Pushes::default();
        note(&mut pushes, 5, 0);
        pushes.sent(&TALK, 1, PUSH_GRACE_MS);
        assert_eq!(pushes.due_ms(PUSH_GRACE_MS, PUSH_WINDOW_MS), None);
        note(&mut pushes, 6, 7_000);
        let again_ms = PUSH_GRACE_MS + OVERTAKEN_MS;
        assert_eq!(pushes.due_ms(PUSH_GRACE_MS, PUSH_WINDOW_MS), Some(again_ms));
        assert_eq!(due(&mut pushes, again_ms - 1), None);
        let both = due(&mut pushes, again_ms).unwrap();
        assert_eq!((both.first_position, both.last.seq), (5, 6));
        pushes.sent(&TALK, 2, again_ms);
        assert!(!pushes.awaits(&TALK, 1) && pushes.awaits(&TALK, 2));
    }

    #[test]
    fn what_came_to_nothing_goes_again_with_what_came_since() {
        let mut pushes = Pushes::default();
        note(&mut pushes, 5, 0);
        pushes.sent(&TALK, 1, PUSH_GRACE_MS);
        note(&mut pushes, 6, 6_000);
        pushes.again(&TALK);
        let both = due(&mut pushes, 6_000).unwrap();
        assert_eq!((both.first_position, both.last.seq), (5, 6));
    }
}
