//! The judge: the server's logs against the file, and every device's notes against the logs.
//!
//! Invariant: what a device should have is computed from the log's membership events alone, and
//! these, user by user, from the file.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::ReplayError;
use super::cast::Cast;
use super::device::notes;
use super::ledger::{Ledger, ROOMS};
use super::line::{Line, fingerprint};
use super::log::{Deed, Log, kind_of_difference};
use crate::irc::{Script, What};
use crate::target::TargetError;

/// How long devices may take to have everything, marks included.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether they have.
const POLL: Duration = Duration::from_millis(20);

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
            logs.push(Log::read(reader, cast.rooms[room], &indices).await?);
        }
        let mut judge = Judge {
            cast,
            ledger,
            script,
            beside,
            logs,
            read: vec![HashMap::new(); ROOMS],
        };
        ledger.is_over.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while Instant::now() < deadline && !judge.has_everything() {
            tokio::time::sleep(POLL).await;
        }
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
        self.has_everything() && (1..ROOMS).all(|room| self.marks_settled(room))
    }

    /// Every device has every event that it is due.
    fn has_everything(&self) -> bool {
        self.cast.seats.iter().all(|seat| {
            let last = |room: usize| {
                let runs = &notes(&seat.notes).runs[room];
                runs.last().map_or(0, |run| run.1)
            };
            (0..ROOMS).all(|room| {
                let due = self.logs[room].due(seat.user);
                last(room) >= due.last().map_or(0, |run| run.1)
            })
        })
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
