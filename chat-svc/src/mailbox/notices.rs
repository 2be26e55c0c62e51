//! Notices, pure: what the devices of a user show, so that it can be taken back.
//!
//! A conversation is entered here before its push leaves; once its messages are read or erased, or
//! the user is gone from it, the shard sends what [`Notices::due`] says. Stored as one row beside
//! the mailbox.
//!
//! Invariant: whatever a device may show is here, through crashes: it is stored before the push
//! leaves, and taken out once its clear is settled.

use super::{
    list::{self, List},
    push::{Key, Place},
};
use heddle_proto::internal::{ListEntry, Notice, NoticesRow, SettledPush};
use std::collections::{BTreeMap, VecDeque};

/// Conversations that are remembered; beyond it the oldest notification is never cleared.
pub const SHOWN_MAX: usize = 256;
/// Settled pushes whose outcome is remembered; the oldest are forgotten first.
pub const SETTLED_MAX: usize = 8;
/// The key of what is about no conversation.
pub const NO_CONVERSATION: Key = [0; 16];

/// What is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The conversation's notification goes.
    Clear(Key),
    /// The message that it shows was erased, others wait: it shows another.
    Update(Key),
    /// Only the badge falls.
    Badge,
}

impl Due {
    /// The conversation.
    pub fn key(self) -> Key {
        match self {
            Self::Clear(key) | Self::Update(key) => key,
            Self::Badge => NO_CONVERSATION,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    place: Place,
    time_ms: u64,
}

/// What devices show.
#[derive(Debug, Default)]
pub struct Notices {
    shown: BTreeMap<Key, Shown>,
    badge: u64,
    /// What was told last was not, or is not any more, the true badge.
    badge_wrong: bool,
    settled: VecDeque<SettledPush>,
    /// Conversations with an intent on its way, and the message that was shown as it left.
    under_way: BTreeMap<Key, Place>,
}

impl Notices {
    /// As stored.
    pub fn from_row(row: NoticesRow) -> Self {
        let shown = row.shown.into_iter().filter_map(|notice| {
            let (position, seq) = (notice.position, notice.seq);
            let (place, time_ms) = (Place { position, seq }, notice.time_ms);
            let key = notice.conversation_id.as_ref().try_into().ok()?;
            Some((key, Shown { place, time_ms }))
        });
        Self {
            shown: shown.collect(),
            badge: row.badge,
            badge_wrong: false,
            settled: row.settled.into(),
            under_way: BTreeMap::new(),
        }
    }

    /// To be stored.
    pub fn to_row(&self) -> NoticesRow {
        let notice = |(key, shown): (&Key, &Shown)| Notice {
            conversation_id: key.to_vec().into(),
            seq: shown.place.seq,
            position: shown.place.position,
            time_ms: shown.time_ms,
        };
        NoticesRow {
            shown: self.shown.iter().map(notice).collect(),
            badge: self.badge,
            settled: self.settled.iter().cloned().collect(),
        }
    }

    /// A push about the conversation leaves: from now on devices may show it.
    pub fn show(&mut self, conversation: Key, place: Place, badge: u64, now_ms: u64) {
        let time_ms = now_ms;
        self.shown.insert(conversation, Shown { place, time_ms });
        self.badge = badge;
        if self.shown.len() > SHOWN_MAX {
            let oldest = self.shown.iter().min_by_key(|(_, shown)| shown.time_ms);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|oldest| self.shown.remove(&oldest));
        }
    }

    /// Whether a device may show something, or a badge that is too high.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty() && self.badge == 0 && !self.badge_wrong
    }

    /// The newest message that devices may show of a conversation.
    pub fn place(&self, conversation: &Key) -> Option<Place> {
        self.shown.get(conversation).map(|shown| shown.place)
    }

    /// What is to be taken back, as the list stands; `quiet`: no push is to come that would tell
    /// the badge.
    pub fn due(&self, list: &List, quiet: bool, now_ms: u64) -> Vec<Due> {
        let idle = |key: &Key| !self.under_way.contains_key(key);
        let shown = self.shown.iter().filter(|(key, _)| idle(key));
        let mut due: Vec<_> = shown
            .filter_map(|(key, shown)| match list.get(key) {
                Some(entry) if !is_over(entry, shown.place.seq) => entry
                    .uncounted_seqs
                    .contains(&shown.place.seq)
                    .then_some(Due::Update(*key)),
                _ => Some(Due::Clear(*key)),
            })
            .collect();
        let nothing_comes = quiet && due.is_empty() && self.under_way.is_empty();
        if nothing_comes && (self.badge > 0 || self.badge_wrong) {
            let badge = list.badge(now_ms);
            let wrong = badge < self.badge || (self.badge_wrong && badge != self.badge);
            due.extend(wrong.then_some(Due::Badge));
        }
        due
    }

    /// An intent that takes something back is on its way.
    pub fn sent(&mut self, due: Due) {
        let key = due.key();
        let place = self.place(&key).unwrap_or_default();
        self.under_way.insert(key, place);
    }

    /// A push is settled: this is what devices were told last. Two that were tried again may have
    /// come in another order than they left, so that a newer badge was overwritten.
    pub fn told(&mut self, badge: u64, true_badge: u64) {
        self.badge = badge;
        self.badge_wrong = badge != true_badge;
    }

    /// It came to nothing: it is due again.
    pub fn again(&mut self, key: &Key) {
        self.under_way.remove(key);
    }

    /// It is settled. What was shown anew meanwhile stays.
    pub fn taken_back(&mut self, due: Due, entry: Option<&ListEntry>) {
        let key = due.key();
        let was = self.under_way.remove(&key).unwrap_or_default();
        let Some(shown) = self.shown.get_mut(&key).filter(|it| it.place == was) else {
            return;
        };
        match (due, entry) {
            (Due::Update(_), Some(entry)) => shown.place.seq = newest_left(entry, was.seq),
            _ => {
                self.shown.remove(&key);
            }
        }
    }

    /// Nobody took the push: no device shows it.
    pub fn not_shown(&mut self, conversation: &Key, seq: u64) {
        if self.place(conversation).is_some_and(|it| it.seq == seq) {
            self.shown.remove(conversation);
        }
    }

    /// Remembers what became of a push.
    pub fn settled(&mut self, push: SettledPush) {
        self.settled.retain(|known| known.push_id != push.push_id);
        self.settled.push_back(push);
        if self.settled.len() > SETTLED_MAX {
            self.settled.pop_front();
        }
    }

    /// What became of a push; `None`: it is not one of the last, or is under way.
    pub fn outcome(&self, push_id: &str) -> Option<&SettledPush> {
        self.settled.iter().find(|push| push.push_id == push_id)
    }
}

/// Whether nothing of the conversation is left to be shown.
fn is_over(entry: &ListEntry, seq: u64) -> bool {
    entry.until_seq > 0 || entry.read_seq >= seq || list::unread(entry) == 0
}

/// The newest seq below `seq` that was neither erased nor hidden.
fn newest_left(entry: &ListEntry, seq: u64) -> u64 {
    let left = |seq: &u64| !entry.uncounted_seqs.contains(seq);
    (entry.read_seq + 1..seq).rev().find(left).unwrap_or(seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: Key = [1; 16];
    const NOW_MS: u64 = 1_000;

    /// Messages 1 to 5 of another, of which `read_seq` are read.
    fn list(read_seq: u64, uncounted_seqs: &[u64], until_seq: u64) -> List {
        List::from_rows(vec![ListEntry {
            conversation_id: TALK.to_vec().into(),
            last_seq: 5,
            last_ordinal: 5,
            read_seq,
            read_ordinal: read_seq,
            since_seq: 1,
            until_seq,
            uncounted_seqs: uncounted_seqs.to_vec(),
            ..Default::default()
        }])
    }

    fn at(seq: u64) -> Place {
        let position = 10 + seq;
        Place { position, seq }
    }

    fn shown() -> Notices {
        let mut notices = Notices::default();
        notices.show(TALK, at(5), 5, NOW_MS);
        notices
    }

    fn due(notices: &Notices, list: &List) -> Vec<Due> {
        notices.due(list, true, NOW_MS)
    }

    #[test]
    fn what_devices_show_is_taken_back_when_it_is_over() {
        let table = [
            ("nothing has happened", list(0, &[], 0), vec![]),
            ("read", list(5, &[], 0), vec![Due::Clear(TALK)]),
            ("left", list(0, &[], 4), vec![Due::Clear(TALK)]),
            (
                "all of it erased",
                list(0, &[1, 2, 3, 4, 5], 0),
                vec![Due::Clear(TALK)],
            ),
            (
                "the one shown erased",
                list(0, &[5], 0),
                vec![Due::Update(TALK)],
            ),
            ("an older one erased", list(0, &[2], 0), vec![Due::Badge]),
            ("read in part", list(2, &[], 0), vec![Due::Badge]),
        ];
        for (name, list, expected) in table {
            assert_eq!(due(&shown(), &list), expected, "{name}");
        }
        let gone = List::default();
        assert_eq!(due(&shown(), &gone), [Due::Clear(TALK)]);
    }

    #[test]
    fn what_is_on_its_way_is_not_due_and_comes_back_if_it_fails() {
        let read = list(5, &[], 0);
        let mut notices = shown();
        notices.sent(Due::Clear(TALK));
        assert_eq!(due(&notices, &read), []);
        notices.again(&TALK);
        assert_eq!(due(&notices, &read), [Due::Clear(TALK)]);
        notices.sent(Due::Clear(TALK));
        notices.taken_back(Due::Clear(TALK), None);
        notices.told(0, 0);
        assert!(notices.is_empty() && due(&notices, &read).is_empty());
    }

    /// Two pushes were tried again and the older one came last, with the older badge.
    #[test]
    fn a_badge_that_was_overwritten_is_told_again() {
        let unread = list(0, &[], 0);
        let mut notices = shown();
        notices.told(5, 5);
        assert_eq!(due(&notices, &unread), []);
        notices.told(3, 5);
        assert_eq!(notices.due(&unread, false, NOW_MS), [], "a push comes");
        assert_eq!(due(&notices, &unread), [Due::Badge]);
        notices.told(5, 5);
        assert_eq!(due(&notices, &unread), []);
    }

    #[test]
    fn a_newer_push_is_not_taken_back_by_an_older_clear() {
        let mut notices = shown();
        notices.sent(Due::Clear(TALK));
        notices.show(TALK, at(8), 1, NOW_MS);
        notices.taken_back(Due::Clear(TALK), None);
        assert_eq!(notices.to_row().shown[0].seq, 8);
    }

    #[test]
    fn an_erased_message_is_replaced_once() {
        let erased = list(0, &[4, 5], 0);
        let mut notices = shown();
        notices.sent(Due::Update(TALK));
        notices.taken_back(Due::Update(TALK), erased.get(&TALK));
        notices.told(3, 3);
        assert_eq!(notices.to_row().shown[0].seq, 3);
        assert_eq!(due(&notices, &erased), []);
        assert_eq!(due(&notices, &list(3, &[4, 5], 0)), [Due::Clear(TALK)]);
    }

    #[test]
    fn it_survives_the_store_and_stays_bounded() {
        let mut notices = shown();
        for number in 0..SHOWN_MAX as u64 + 1 {
            let mut key = [7; 16];
            key[..8].copy_from_slice(&number.to_be_bytes());
            notices.show(key, at(1), 1, NOW_MS + number + 1);
            notices.settled(SettledPush {
                push_id: number.to_string(),
                ..Default::default()
            });
        }
        let again = Notices::from_row(notices.to_row());
        assert_eq!(again.shown, notices.shown);
        assert_eq!(again.shown.len(), SHOWN_MAX);
        assert!(!again.shown.contains_key(&TALK), "the oldest went");
        let last = SHOWN_MAX.to_string();
        assert!(again.outcome(&last).is_some() && again.outcome("0").is_none());
    }
}
