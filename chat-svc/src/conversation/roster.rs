//! The roster: who is, and was, a member of a conversation, and which seqs are due to whom.
//!
//! [`super::Conversation`] asks who may do what and who gets an event. Rows are those of
//! TABLE_MEMBERS: one for each stretch of membership, since people rejoin.
//!
//! Invariant: a person's stretches do not overlap, and at most the last one is open.

use heddle_proto::{
    ids::LogId,
    internal::{FanOutEvent, MemberRow, PointerKind, Recipient, SeqRange},
    v1::Role,
};
use std::collections::BTreeMap;

/// One person's stretches of membership, oldest first; the last may be open.
#[derive(Debug, Clone)]
pub struct Person {
    /// Never empty.
    stretches: Vec<MemberRow>,
    /// The person's mailbox.
    pub mailbox: LogId,
}

impl Person {
    /// The open stretch, while the person is a member.
    pub fn current(&self) -> Option<&MemberRow> {
        self.stretches.last().filter(|row| row.until_seq == 0)
    }

    /// The open or last stretch.
    pub fn last(&self) -> Option<&MemberRow> {
        self.stretches.last()
    }

    /// The stretch in which a seq is due.
    fn at(&self, seq: u64) -> Option<&MemberRow> {
        self.stretches.iter().find(|row| is_due(row, seq, seq))
    }

    fn current_mut(&mut self) -> Option<&mut MemberRow> {
        self.stretches.last_mut().filter(|row| row.until_seq == 0)
    }
}

/// Who belongs to a conversation.
#[derive(Debug, Default, Clone)]
pub struct Roster {
    people: BTreeMap<String, Person>,
    member_count: usize,
}

impl Roster {
    /// The roster of stored rows, in any order.
    pub fn from_rows(rows: impl IntoIterator<Item = MemberRow>) -> Self {
        let mut roster = Self::default();
        for row in rows {
            roster.put(row);
        }
        for person in roster.people.values_mut() {
            person.stretches.sort_by_key(|row| row.since_seq);
        }
        roster.member_count = roster
            .people
            .values()
            .filter(|person| person.current().is_some())
            .count();
        roster
    }

    fn put(&mut self, row: MemberRow) {
        let mailbox = LogId::mailbox(&row.user_id);
        let person = self
            .people
            .entry(row.user_id.clone())
            .or_insert_with(|| Person {
                stretches: Vec::with_capacity(1),
                mailbox,
            });
        person.stretches.push(row);
    }

    /// How many members there are now.
    pub fn member_count(&self) -> usize {
        self.member_count
    }

    /// The open stretch of a member.
    pub fn member(&self, user_id: &str) -> Option<&MemberRow> {
        self.people.get(user_id)?.current()
    }

    /// The open stretch of a member, to be changed.
    pub fn member_mut(&mut self, user_id: &str) -> Option<&mut MemberRow> {
        self.people.get_mut(user_id)?.current_mut()
    }

    /// The open or last stretch of whoever is or was a member.
    pub fn person(&self, user_id: &str) -> Option<&Person> {
        self.people.get(user_id)
    }

    /// Members now, by user id, above one of them.
    pub fn members_after(&self, user_id: &str) -> impl Iterator<Item = &MemberRow> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.people
            .range::<str, _>((Excluded(user_id), Unbounded))
            .filter_map(|(_, person)| person.current())
    }

    /// Everybody who is a member now, with their mailboxes.
    pub fn members(&self) -> impl Iterator<Item = (&MemberRow, &LogId)> {
        self.people
            .values()
            .filter_map(|person| Some((person.current()?, &person.mailbox)))
    }

    /// Stretches whose end lies within a stretch of the log.
    pub fn ended_within(&self, first_seq: u64, last_seq: u64) -> impl Iterator<Item = &MemberRow> {
        let stretches = self.people.values().flat_map(|person| &person.stretches);
        stretches.filter(move |row| (first_seq..=last_seq).contains(&row.until_seq))
    }

    /// Opens a stretch; the row to store.
    pub fn join(&mut self, user_id: &str, role: Role, since_seq: u64, ordinal: u64) -> MemberRow {
        let row = MemberRow {
            user_id: user_id.to_owned(),
            since_seq,
            role: role as i32,
            delivered_seq: since_seq.saturating_sub(1),
            read_seq: since_seq.saturating_sub(1),
            read_ordinal: ordinal,
            since_ordinal: ordinal,
            seq: since_seq,
            ..Default::default()
        };
        self.put(row.clone());
        self.member_count += 1;
        row
    }

    /// Closes the open stretch: `until_seq` is the first seq no longer due. The row to store.
    pub fn leave(&mut self, user_id: &str, until_seq: u64) -> Option<MemberRow> {
        let row = self.member_mut(user_id)?;
        row.until_seq = until_seq;
        row.seq = until_seq;
        let row = row.clone();
        self.member_count -= 1;
        Some(row)
    }

    /// Gives a member another role; the row to store.
    pub fn set_role(&mut self, user_id: &str, role: Role, seq: u64) -> Option<MemberRow> {
        let row = self.member_mut(user_id)?;
        row.role = role as i32;
        row.seq = seq;
        Some(row.clone())
    }

    /// What of a log up to `head_seq` is due to a person, oldest first; empty for strangers.
    pub fn due_ranges(&self, user_id: &str, head_seq: u64) -> Vec<SeqRange> {
        let Some(person) = self.people.get(user_id) else {
            return Vec::new();
        };
        let range = |row: &MemberRow| SeqRange {
            from_seq: row.since_seq,
            to_seq: if row.until_seq == 0 {
                head_seq
            } else {
                head_seq.min(row.until_seq - 1)
            },
        };
        person
            .stretches
            .iter()
            .map(range)
            .filter(|range| range.from_seq <= range.to_seq)
            .collect()
    }

    /// Whoever is due anything of a stretch of the log, with the shard of the mailbox.
    pub fn recipients(
        &self,
        first_seq: u64,
        last_seq: u64,
        shard_count: u32,
    ) -> impl Iterator<Item = (u32, Recipient)> {
        self.people.values().flat_map(move |person| {
            let shard = person.mailbox.shard(shard_count);
            person
                .stretches
                .iter()
                .filter(move |row| is_due(row, first_seq, last_seq))
                .map(move |row| (shard, recipient(row)))
        })
    }

    /// Whoever was due what one of these events erases and is not due that erasure, under the
    /// stretch in which it was, with the shard of the mailbox. Who is due some of the events under
    /// that stretch is among [`Self::recipients`] already.
    pub fn former_readers<'a>(
        &'a self,
        events: &[FanOutEvent],
        shard_count: u32,
    ) -> impl Iterator<Item = (u32, Recipient)> + use<'a> {
        let first_seq = events.first().map_or(0, |event| event.seq);
        let erases = |event: &&FanOutEvent| event.kind() == PointerKind::Erase;
        let erasures = events.iter().filter(erases);
        let erasures: Vec<_> = erasures
            .map(|event| (event.seq, event.target_seq))
            .collect();
        let people = (!erasures.is_empty()).then(|| self.people.values());
        people.into_iter().flatten().filter_map(move |person| {
            let of = |&(seq, target_seq): &(u64, u64)| {
                let read = person.at(target_seq)?;
                person.at(seq).is_none().then_some(read)
            };
            let read = erasures.iter().find_map(of)?;
            let is_recipient = read.until_seq > first_seq;
            (!is_recipient).then(|| (person.mailbox.shard(shard_count), recipient(read)))
        })
    }
}

/// Whether anything of a stretch of the log is due under a stretch of membership.
fn is_due(row: &MemberRow, first_seq: u64, last_seq: u64) -> bool {
    row.since_seq <= last_seq && (row.until_seq == 0 || row.until_seq > first_seq)
}

fn recipient(row: &MemberRow) -> Recipient {
    Recipient {
        user_id: row.user_id.clone(),
        since_seq: row.since_seq,
        until_seq: row.until_seq,
        since_ordinal: row.since_ordinal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Roster {
        let mut roster = Roster::default();
        roster.join("alice", Role::Owner, 1, 0);
        roster.join("bob", Role::Member, 1, 0);
        roster
    }

    #[test]
    fn who_left_is_due_what_was_before_and_what_comes_after_rejoining() {
        let mut roster = roster();
        roster.leave("bob", 5);
        roster.join("bob", Role::Member, 9, 6);
        let ranges = roster.due_ranges("bob", 12);
        let ends: Vec<_> = ranges
            .iter()
            .map(|range| (range.from_seq, range.to_seq))
            .collect();
        assert_eq!(ends, [(1, 4), (9, 12)]);
        assert_eq!(roster.member_count(), 2);
    }

    #[test]
    fn a_stranger_is_due_nothing() {
        assert!(roster().due_ranges("carol", 10).is_empty());
    }

    #[test]
    fn who_leaves_within_a_stretch_gets_what_was_before() {
        let mut roster = roster();
        roster.leave("bob", 5);
        let due = |first, last| roster.recipients(first, last, 1).count();
        assert_eq!(due(4, 6), 2);
        assert_eq!(due(5, 6), 1);
    }

    #[test]
    fn who_left_hears_of_an_erasure_of_what_came_before() {
        let mut roster = roster();
        roster.leave("bob", 5);
        let heard = |roster: &Roster, seq, target_seq| {
            let erasure = FanOutEvent {
                seq,
                target_seq,
                kind: PointerKind::Erase.into(),
                ..Default::default()
            };
            let readers = roster.former_readers(&[erasure], 1);
            readers
                .map(|(_, who)| (who.user_id, who.until_seq))
                .collect::<Vec<_>>()
        };
        assert_eq!(heard(&roster, 6, 4), [("bob".to_owned(), 5)]);
        assert_eq!(heard(&roster, 7, 6), [], "bob never had it");
        assert_eq!(heard(&roster, 4, 3), [], "bob is due the erasure itself");
        roster.join("bob", Role::Member, 9, 6);
        assert_eq!(heard(&roster, 8, 4), [("bob".to_owned(), 5)]);
        assert_eq!(heard(&roster, 10, 4), [], "bob is due this one");
    }

    #[test]
    fn rows_make_the_same_roster() {
        let mut roster = roster();
        let left = roster.leave("bob", 5);
        let again = roster.join("bob", Role::Admin, 9, 6);
        let alice = roster.member("alice").cloned();
        let rows = [Some(again), left, alice].into_iter().flatten();
        let stored = Roster::from_rows(rows);
        assert_eq!(stored.due_ranges("bob", 12), roster.due_ranges("bob", 12));
        assert_eq!(stored.member_count(), 2);
    }
}
