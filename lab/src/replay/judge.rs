//! The judge: the server's logs against the file, and every device's notes against the logs.
//!
//! Invariant: what a device should have is computed from the log's membership events alone, and
//! these, user by user, from the file.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use heddle_proto::v1::{self, MembershipAction, event};
use heddle_sdk::{Client, ConversationId, Page};

use super::ReplayError;
use super::cast::Cast;
use super::device::notes;
use super::ledger::{Ledger, ROOMS};
use super::line::{Line, fingerprint};
use crate::irc::{Script, What};
use crate::target::TargetError;

/// Events read at a time.
const PAGE_SIZE: i32 = 500;
/// How long devices may take to have everything, marks included.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether they have.
const POLL: Duration = Duration::from_millis(20);

/// A stretch of membership: first seq due, first seq no longer due.
type Stretch = (u64, Option<u64>);

/// What stands in one room's log.
pub(super) struct Log {
    events: Vec<v1::Event>,
    /// By user index.
    stretches: Vec<Vec<Stretch>>,
}

/// What a user did in a room, in the order of the log or of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    Joined,
    Left,
    Said(Line),
}

/// Compares everything.
pub struct Judge<'a> {
    pub(super) cast: &'a Cast,
    pub(super) ledger: &'a Ledger,
    script: &'a Script,
    beside: &'a [Vec<(usize, Line)>; ROOMS],
    pub(super) logs: Vec<Log>,
    /// By room and user index: the read mark that the user must have.
    pub(super) read: Vec<HashMap<usize, u64>>,
}

impl<'a> Judge<'a> {
    /// Has everyone read a last time in the rooms beside, and reads the logs.
    pub async fn prepare(
        cast: &'a Cast,
        ledger: &'a Ledger,
        script: &'a Script,
        beside: &'a [Vec<(usize, Line)>; ROOMS],
    ) -> Result<Judge<'a>, ReplayError> {
        let indices: HashMap<&str, usize> = cast
            .ids
            .iter()
            .enumerate()
            .map(|(index, id)| (id.as_str(), index))
            .collect();
        let mut logs = Vec::new();
        for room in 0..ROOMS {
            let reader = match cast.beside[room].first() {
                Some(&user) => &cast.clients[user],
                None => &cast.owner,
            };
            let events = read_log(reader, cast.rooms[room]).await?;
            let stretches = stretches(&events, &indices);
            logs.push(Log { events, stretches });
        }
        let mut judge = Judge {
            cast,
            ledger,
            script,
            beside,
            logs,
            read: vec![HashMap::new(); ROOMS],
        };
        judge.mark().await?;
        Ok(judge)
    }

    /// Everyone's mark in the rooms beside ends at a place of one's own.
    async fn mark(&mut self) -> Result<(), ReplayError> {
        for room in 1..ROOMS {
            let head = self.logs[room].head();
            for (nth, &user) in self.cast.beside[room].iter().enumerate() {
                let own = self.logs[room].last_message_of(&self.cast.ids[user]);
                let said = (0..self.cast.devices).map(|n| {
                    notes(&self.cast.seats[user * self.cast.devices + n].notes).read[room]
                });
                let least = said.max().unwrap_or(0).max(own);
                let seq = head.saturating_sub(nth as u64).max(least);
                let client = &self.cast.clients[user];
                let marked = client.mark(self.cast.rooms[room], seq).await;
                let marked = marked.map_err(TargetError::refused("a mark was refused"))?;
                if marked != seq {
                    let id = &self.cast.ids[user];
                    let what = || format!("{id} marked {seq}, the answer is {marked}");
                    self.ledger.problem("marks", what);
                }
                self.read[room].insert(user, seq);
            }
        }
        Ok(())
    }

    /// Waits until every device has what it is due, or long enough.
    pub async fn wait(&self) {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while Instant::now() < deadline && !self.is_settled() {
            tokio::time::sleep(POLL).await;
        }
    }

    fn is_settled(&self) -> bool {
        self.cast.seats.iter().all(|seat| {
            let last = |room: usize| {
                let runs = &notes(&seat.notes).runs[room];
                runs.last().map_or(0, |run| run.1)
            };
            (0..ROOMS).all(|room| {
                let due = self.logs[room].due(seat.user);
                last(room) >= due.last().map_or(0, |run| run.1)
            })
        }) && (1..ROOMS).all(|room| self.marks_settled(room))
    }

    /// Judges all; what is wrong is in the ledger.
    pub async fn compare(&self) -> Result<(), ReplayError> {
        for room in 0..ROOMS {
            self.compare_log(room);
            self.compare_devices(room);
        }
        for user in 0..self.cast.ids.len() {
            self.compare_file(user);
        }
        for room in 1..ROOMS {
            self.compare_beside(room);
            self.compare_marks(room);
        }
        self.compare_lists().await
    }

    /// The log has no hole, and what devices saw live is what stands there.
    fn compare_log(&self, room: usize) {
        for (index, event) in self.logs[room].events.iter().enumerate() {
            if event.seq != index as u64 + 1 {
                let seq = event.seq;
                self.ledger
                    .problem("seq_gap", || format!("{seq} after {index} in room {room}"));
                return;
            }
            if !self.ledger.see(room, event.seq, fingerprint(event)) {
                let seq = event.seq;
                let what = || format!("room {room}, seq {seq}: the log has something else");
                self.ledger.problem("order_divergence", what);
            }
        }
    }

    fn compare_devices(&self, room: usize) {
        for seat in &self.cast.seats {
            let due = self.logs[room].due(seat.user);
            let notes = notes(&seat.notes);
            let seen = &notes.runs[room];
            if *seen == due {
                continue;
            }
            let kind = kind_of_difference(&due, seen);
            let short = |runs: &[(u64, u64)]| {
                let shown: Vec<_> = runs
                    .iter()
                    .take(6)
                    .map(|(a, b)| format!("{a}-{b}"))
                    .collect();
                shown.join(",")
            };
            self.ledger.problem(kind, || {
                let name = &seat.name;
                format!(
                    "{name}, room {room}: due {}, saw {}",
                    short(&due),
                    short(seen)
                )
            });
        }
    }

    /// What the log says that a user did in the channel is what the file says.
    fn compare_file(&self, user: usize) {
        let id = &self.cast.ids[user];
        let mut expected = Vec::new();
        if self.script.users[user].founder {
            expected.push(Deed::Joined);
        }
        let steps = self
            .script
            .steps
            .iter()
            .filter(|step| step.user as usize == user);
        expected.extend(steps.filter_map(|step| match &step.what {
            What::Join { .. } => Some(Deed::Joined),
            What::Leave => Some(Deed::Left),
            what => Line::of(what).map(Deed::Said),
        }));
        self.compare_deeds(0, id, &expected);
    }

    fn compare_beside(&self, room: usize) {
        for &user in &self.cast.beside[room] {
            let lines = self.beside[room].iter().filter(|(who, _)| *who == user);
            let said = lines.map(|(_, line)| Deed::Said(line.clone()));
            let expected: Vec<Deed> = std::iter::once(Deed::Joined).chain(said).collect();
            self.compare_deeds(room, &self.cast.ids[user], &expected);
        }
    }

    fn compare_deeds(&self, room: usize, id: &str, expected: &[Deed]) {
        let found = self.logs[room].deeds(id);
        if found == expected {
            return;
        }
        let at = found
            .iter()
            .zip(expected)
            .take_while(|(a, b)| a == b)
            .count();
        self.ledger.problem("file_divergence", || {
            format!(
                "room {room}, {id}: {} deeds in the log, {} in the file; the first difference is \
                 number {at}: {:?} instead of {:?}",
                found.len(),
                expected.len(),
                found.get(at),
                expected.get(at)
            )
        });
    }
}

impl Log {
    pub(super) fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// The runs of seqs that are due to a user.
    fn due(&self, user: usize) -> Vec<(u64, u64)> {
        let head = self.head();
        let stretches = self.stretches[user].iter();
        let runs = stretches.map(|&(since, until)| (since, until.map_or(head, |until| until - 1)));
        runs.filter(|(since, end)| since <= end).collect()
    }

    /// Since when a user has been a member, for those who are.
    pub(super) fn member_since(&self, user: usize) -> Option<u64> {
        let last = self.stretches[user].last()?;
        last.1.is_none().then_some(last.0)
    }

    pub(super) fn last_message_of(&self, id: &str) -> u64 {
        let own = self
            .events
            .iter()
            .rev()
            .find(|event| is_message(event) && event.sender == id);
        own.map_or(0, |event| event.seq)
    }

    /// The newest message of anybody else.
    pub(super) fn last_message_not_of(&self, id: &str) -> u64 {
        let others = self
            .events
            .iter()
            .rev()
            .find(|event| is_message(event) && event.sender != id);
        others.map_or(0, |event| event.seq)
    }

    /// Others' messages after a seq.
    pub(super) fn unread(&self, id: &str, after: u64) -> u64 {
        let later = self.events.iter().filter(|event| event.seq > after);
        later
            .filter(|event| is_message(event) && event.sender != id)
            .count() as u64
    }

    fn deeds(&self, id: &str) -> Vec<Deed> {
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

fn is_message(event: &v1::Event) -> bool {
    matches!(event.kind, Some(event::Kind::Message(_)))
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
                MembershipAction::Created | MembershipAction::Added => {
                    if mine.last().is_none_or(|last| last.1.is_some()) {
                        mine.push((event.seq, None));
                    }
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
fn kind_of_difference(due: &[(u64, u64)], seen: &[(u64, u64)]) -> &'static str {
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

async fn read_log(client: &Client, room: ConversationId) -> Result<Vec<v1::Event>, ReplayError> {
    let mut events: Vec<v1::Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = client.history(room, Page::After(after), PAGE_SIZE).await;
        let page = page.map_err(TargetError::refused("the log can't be read"))?;
        let is_end = !page.more_after || page.events.is_empty();
        events.extend(page.events);
        if is_end {
            return Ok(events);
        }
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
