//! The conversation list: what a mailbox's entries add up to.
//!
//! [`super::Mailbox`] applies each entry as it is accepted, and again from its checkpoint as it is
//! loaded; the rows are `ListEntry`.
//!
//! Invariant: the list is a fold over the mailbox's log and nothing else. Unread is the difference
//! of ordinals between head and read mark, less what was erased or hidden in between (DESIGN 4).

use heddle_kit::FastMap;
use heddle_proto::{
    internal::{ListEntry, ListPlace, Pointer, PointerKind, Recipient, StateVersion},
    time,
    v1::{
        ConversationSettings, HiddenState, MarkState, MembershipState, PushLevel, StateChange,
        state_change,
    },
};
use std::cmp::Reverse;

/// Unread mentions kept for each conversation; beyond it the oldest are forgotten.
pub const MENTIONS_MAX: usize = 1000;

/// A user's conversations.
#[derive(Debug, Default)]
pub struct List(FastMap<[u8; 16], ListEntry>);

/// The key of a conversation; ids on internal links are 16 bytes, anything else maps to zeros.
fn key(conversation_id: &[u8]) -> [u8; 16] {
    conversation_id.try_into().unwrap_or_default()
}

/// Unread messages of an entry.
pub fn unread(entry: &ListEntry) -> u64 {
    if entry.until_seq > 0 {
        return 0;
    }
    let after_mark = entry.last_ordinal.saturating_sub(entry.read_ordinal);
    after_mark.saturating_sub(entry.uncounted_seqs.len() as u64)
}

impl List {
    /// As stored.
    pub fn from_rows(rows: Vec<ListEntry>) -> Self {
        Self(
            rows.into_iter()
                .map(|row| (key(&row.conversation_id), row))
                .collect(),
        )
    }

    /// To be stored.
    pub fn to_rows(&self) -> Vec<ListEntry> {
        self.0.values().cloned().collect()
    }

    /// One conversation's entry.
    pub fn get(&self, conversation_id: &[u8]) -> Option<&ListEntry> {
        self.0.get(&key(conversation_id))
    }

    /// Conversations of which the user is a member.
    pub fn current(&self) -> impl Iterator<Item = &ListEntry> {
        self.0.values().filter(|entry| entry.until_seq == 0)
    }

    /// The same, the last active first.
    pub fn by_activity(&self) -> Vec<&ListEntry> {
        let mut entries: Vec<_> = self.current().collect();
        entries.sort_unstable_by_key(|entry| Reverse(entry.activity_time_ms));
        entries
    }

    /// The badge: unread messages over all conversations that are not muted at `now_ms`.
    pub fn badge(&self, now_ms: u64) -> u64 {
        let counts = |entry: &&ListEntry| {
            entry.muted_until_ms <= now_ms && entry.push_level() != PushLevel::Nothing
        };
        self.current().filter(counts).map(unread).sum()
    }

    /// The entry that an event for this membership belongs to; a new or renewed membership starts
    /// with nothing unread.
    pub fn enter(&mut self, conversation_id: &[u8], member: &Recipient) -> &mut ListEntry {
        let entry = self.0.entry(key(conversation_id)).or_default();
        if entry.since_seq < member.since_seq {
            *entry = ListEntry {
                conversation_id: conversation_id.to_vec().into(),
                since_seq: member.since_seq,
                last_seq: member.since_seq - 1,
                last_ordinal: member.since_ordinal,
                read_seq: member.since_seq - 1,
                read_ordinal: member.since_ordinal,
                muted_until_ms: entry.muted_until_ms,
                pinned: entry.pinned,
                version: entry.version,
                push_level: entry.push_level,
                ..Default::default()
            };
        }
        entry
    }

    /// Applies an event's pointer.
    pub fn apply_pointer(&mut self, pointer: &Pointer, time_ms: u64) {
        let entry = self.0.entry(key(&pointer.conversation_id)).or_default();
        if entry.conversation_id.is_empty() {
            entry.conversation_id = pointer.conversation_id.clone();
        }
        entry.direct = pointer.direct;
        entry.last_seq = entry.last_seq.max(pointer.seq);
        entry.last_ordinal = entry.last_ordinal.max(pointer.ordinal);
        if entry.activity_time_ms == 0 {
            entry.activity_time_ms = time_ms;
        }
        match pointer.kind() {
            PointerKind::Message => {
                entry.activity_time_ms = time_ms;
                entry.last_message_seq = pointer.seq;
                if pointer.own {
                    move_mark(entry, pointer.seq, pointer.ordinal);
                } else if pointer.mentioned {
                    entry.mention_seqs.push(pointer.seq);
                    if entry.mention_seqs.len() > MENTIONS_MAX {
                        entry.mention_seqs.remove(0);
                    }
                }
            }
            PointerKind::Erase if !pointer.target_own => uncount(entry, pointer.target_seq),
            _ => {}
        }
    }

    /// Applies a change of state; of others' marks the list keeps that they were told, no more.
    pub fn apply_state(
        &mut self,
        user_id: &str,
        change: &StateChange,
        version: Option<StateVersion>,
    ) {
        if version.is_some()
            && let Some(entry) = self.0.get_mut(&key(conversation_of(change)))
        {
            entry.version = version;
        }
        match &change.kind {
            Some(state_change::Kind::Mark(mark)) if mark.user_id == user_id => self.mark(mark),
            Some(state_change::Kind::Membership(membership)) => self.membership(membership),
            Some(state_change::Kind::Settings(settings)) => self.settings(settings),
            Some(state_change::Kind::Hidden(hidden)) => self.hide(hidden),
            _ => {}
        }
    }

    fn mark(&mut self, mark: &MarkState) {
        if let Some(entry) = self.0.get_mut(&key(&mark.conversation_id)) {
            move_mark(entry, mark.read_seq, mark.read_ordinal);
        }
    }

    fn membership(&mut self, membership: &MembershipState) {
        if let Some(entry) = self.0.get_mut(&key(&membership.conversation_id))
            && entry.since_seq == membership.since_seq
        {
            entry.until_seq = membership.until_seq;
        }
    }

    fn settings(&mut self, settings: &ConversationSettings) {
        if let Some(entry) = self.0.get_mut(&key(&settings.conversation_id)) {
            entry.muted_until_ms = settings.muted_until_time.as_ref().map_or(0, time::millis);
            entry.pinned = settings.pinned;
            entry.push_level = settings.push_level;
        }
    }

    fn hide(&mut self, hidden: &HiddenState) {
        if let Some(entry) = self.0.get_mut(&key(&hidden.conversation_id)) {
            for seq in &hidden.seqs {
                uncount(entry, *seq);
            }
        }
    }

    /// A page: pinned ones first, then by activity, newest first; and whether there is more.
    pub fn page(&self, after: Option<&ListPlace>, entries_max: usize) -> (Vec<&ListEntry>, bool) {
        let after = after.map(|place| {
            let id = place.conversation_id.as_ref();
            Reverse((place.pinned, place.activity_time_ms, id))
        });
        let mut entries: Vec<_> = self
            .0
            .values()
            .filter(|entry| after.as_ref().is_none_or(|after| place(entry) > *after))
            .collect();
        entries.sort_unstable_by_key(|entry| place(entry));
        let more = entries.len() > entries_max;
        entries.truncate(entries_max);
        (entries, more)
    }
}

fn place(entry: &ListEntry) -> Reverse<(bool, u64, &[u8])> {
    Reverse((
        entry.pinned,
        entry.activity_time_ms,
        entry.conversation_id.as_ref(),
    ))
}

/// The conversation whose state changes.
fn conversation_of(change: &StateChange) -> &[u8] {
    match &change.kind {
        Some(state_change::Kind::Mark(mark)) => &mark.conversation_id,
        Some(state_change::Kind::Membership(membership)) => &membership.conversation_id,
        Some(state_change::Kind::Settings(settings)) => &settings.conversation_id,
        Some(state_change::Kind::Hidden(hidden)) => &hidden.conversation_id,
        None => &[],
    }
}

fn move_mark(entry: &mut ListEntry, seq: u64, ordinal: u64) {
    if seq > entry.read_seq {
        entry.read_seq = seq;
        entry.read_ordinal = ordinal;
        entry.uncounted_seqs.retain(|uncounted| *uncounted > seq);
        entry.mention_seqs.retain(|mention| *mention > seq);
    }
}

fn uncount(entry: &mut ListEntry, seq: u64) {
    let counts = seq > entry.read_seq && seq <= entry.last_seq && seq >= entry.since_seq;
    if counts && !entry.uncounted_seqs.contains(&seq) {
        entry.uncounted_seqs.push(seq);
        entry.mention_seqs.retain(|mention| *mention != seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TALK: [u8; 16] = [9; 16];

    fn joined() -> List {
        let mut list = List::default();
        list.enter(
            &TALK,
            &Recipient {
                since_seq: 1,
                ..Default::default()
            },
        );
        list
    }

    fn pointer(seq: u64, ordinal: u64, kind: PointerKind) -> Pointer {
        let conversation_id = TALK.to_vec().into();
        Pointer {
            conversation_id,
            seq,
            ordinal,
            kind: kind as i32,
            ..Default::default()
        }
    }

    #[test]
    fn a_renewed_membership_starts_with_nothing_unread() {
        let mut list = joined();
        list.apply_pointer(&pointer(1, 1, PointerKind::Message), 10);
        let again = Recipient {
            since_seq: 5,
            since_ordinal: 4,
            ..Default::default()
        };
        let entry = list.enter(&TALK, &again);
        assert_eq!((unread(entry), entry.last_seq), (0, 4));
    }

    #[test]
    fn pages_follow_one_another() {
        let mut list = List::default();
        for number in 1..=5u8 {
            let id = [number; 16];
            list.enter(
                &id,
                &Recipient {
                    since_seq: 1,
                    ..Default::default()
                },
            );
            let mut event = pointer(1, 1, PointerKind::Message);
            event.conversation_id = id.to_vec().into();
            list.apply_pointer(&event, u64::from(number % 3));
        }
        let (first, more) = list.page(None, 3);
        let last = first[2];
        let after = ListPlace {
            pinned: last.pinned,
            activity_time_ms: last.activity_time_ms,
            conversation_id: last.conversation_id.clone(),
        };
        let (second, end) = list.page(Some(&after), 3);
        assert_eq!((first.len(), more, second.len(), end), (3, true, 2, false));
    }

    proptest! {
        /// Unread equals a plain count over the whole log, whatever happens in whichever order.
        #[test]
        fn unread_is_exact(
            steps in prop::collection::vec((0..5u8, any::<prop::sample::Index>()), 1..80),
        ) {
            let mut list = joined();
            let (mut seq, mut ordinal, mut read) = (0u64, 0u64, 0u64);
            // Of each seq: whether others' message, still standing, and its ordinal.
            let mut log: Vec<(bool, bool, u64)> = vec![(false, false, 0)];
            for (step, pick) in steps {
                let target = if log.len() > 1 { 1 + pick.index(log.len() - 1) } else { 0 };
                match step {
                    0 | 1 => {
                        (seq, ordinal) = (seq + 1, ordinal + 1);
                        let own = step == 1;
                        let event = pointer(seq, ordinal, PointerKind::Message);
                        list.apply_pointer(&Pointer { own, ..event }, 1);
                        log.push((!own, true, ordinal));
                        if own { read = seq; }
                    }
                    2 if target > 0 && log[target].0 => {
                        seq += 1;
                        let event = pointer(seq, ordinal, PointerKind::Erase);
                        list.apply_pointer(&Pointer { target_seq: target as u64, ..event }, 1);
                        log.push((false, false, ordinal));
                        log[target].1 = false;
                    }
                    3 if target > 0 => {
                        let (read_seq, read_ordinal) = (target as u64, log[target].2);
                        list.mark(&MarkState {
                            conversation_id: TALK.to_vec().into(), read_seq, read_ordinal,
                            ..Default::default()
                        });
                        read = read.max(read_seq);
                    }
                    4 if target > 0 && log[target].0 => {
                        let hidden = HiddenState {
                            conversation_id: TALK.to_vec().into(), seqs: vec![target as u64],
                        };
                        list.hide(&hidden);
                        log[target].1 = false;
                    }
                    _ => {}
                }
            }
            let counted = log.iter().enumerate()
                .filter(|(at, (others, stands, _))| *at as u64 > read && *others && *stands)
                .count() as u64;
            prop_assert_eq!(list.get(&TALK).map_or(0, unread), counted);
        }
    }
}
