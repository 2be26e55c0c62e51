//! Each verdict with a planted violation, and clean runs without any.
//!
//! [`clean`] makes the history of a run in which all went well, by a tiny server of its own; each
//! test breaks one thing in it.

mod planted;
mod planted_late;
mod properties;

use super::*;

pub const MINUTE_US: u64 = 60_000_000;

/// What kinds of things happen in a clean run.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Say,
    Edit,
    Erase,
    React,
    Unreact,
    Leave,
    Join,
    Refused,
    Unanswered { stored: bool },
    Resume,
    Hide,
}

/// A server in ten lines, and what its clients record. Users 0..n, two devices each.
pub struct World {
    pub history: History,
    members: Vec<Option<u64>>,
    log: Vec<Event>,
    windows: Vec<(u32, u64, Option<u64>)>,
    /// What is due to each user, by position: the seq.
    mailboxes: Vec<Vec<u64>>,
    hidden: Vec<(u32, u64)>,
    now_us: u64,
    next_id: u128,
}

pub fn clean(users: u32, ops: &[(Op, u32)]) -> History {
    let mut world = World::new(users);
    ops.iter()
        .for_each(|&(op, user)| world.step(op, user % users));
    world.finish();
    world.history
}

impl World {
    pub fn new(users: u32) -> World {
        let mut history = History::default();
        history.conversation("loom");
        for user in 0..users {
            history.user(format!("u{user}"));
            for device in 0..2 {
                history.device(user, format!("u{user}-{device}"));
            }
        }
        World {
            history,
            members: vec![Some(1); users as usize],
            log: Vec::new(),
            windows: Vec::new(),
            mailboxes: vec![Vec::new(); users as usize],
            hidden: Vec::new(),
            now_us: MINUTE_US,
            next_id: 1,
        }
    }

    pub fn step(&mut self, op: Op, user: u32) {
        self.now_us += 1000;
        let is_member = self.members[user as usize].is_some();
        match op {
            Op::Say if is_member => self.send(user, Kind::Message, 0, Outcome::Ok(0)),
            Op::Refused => self.send(user, Kind::Message, 0, Outcome::Failed),
            Op::Unanswered { stored } if is_member => {
                let outcome = if stored {
                    Outcome::Unknown
                } else {
                    Outcome::Failed
                };
                self.send(user, Kind::Message, 0, outcome);
                if let Some(last) = self.history.sends.last_mut() {
                    last.outcome = Outcome::Unknown;
                }
            }
            Op::Edit | Op::Erase | Op::React | Op::Unreact if is_member => {
                let kind = match op {
                    Op::Edit => Kind::Edit,
                    Op::Erase => Kind::Erase,
                    Op::React => Kind::React,
                    _ => Kind::Unreact,
                };
                if let Some(target) = self.visible_message(user) {
                    self.send(user, kind, target, Outcome::Ok(0));
                }
            }
            Op::Leave if is_member => {
                let seq = self.log.len() as u64 + 1;
                let since = self.members[user as usize].take().unwrap();
                self.windows.push((user, since, Some(seq)));
                self.store(user, Kind::System, 0, 7, 0);
            }
            Op::Join if !is_member => {
                self.members[user as usize] = Some(self.log.len() as u64 + 1);
                self.store(user, Kind::System, 0, 8, 0);
            }
            Op::Resume => {
                let position = self.mailboxes[user as usize].len() as u64;
                self.history.resumed(user * 2, position / 2, self.now_us);
                for position in position / 2 + 1..=position {
                    self.deliver(user * 2, user, position);
                }
            }
            Op::Hide if is_member => {
                if let Some(seq) = self.visible_message(user) {
                    self.hidden.push((user, seq));
                    self.history.hid(user, 0, seq, true);
                }
            }
            _ => {}
        }
    }

    fn visible_message(&self, user: u32) -> Option<u64> {
        let since = self.members[user as usize]?;
        let mut messages = self.log.iter().filter(|event| event.kind == Kind::Message);
        messages
            .rfind(|event| event.seq >= since && !self.is_erased(event.seq))
            .map(|e| e.seq)
    }

    fn is_erased(&self, seq: u64) -> bool {
        self.log
            .iter()
            .any(|event| event.kind == Kind::Erase && event.target == seq)
    }

    fn send(&mut self, user: u32, kind: Kind, target: u64, outcome: Outcome) {
        let id = self.next_id;
        self.next_id += 1;
        // Few texts, so that the same one is sent again and again, as people do.
        let body = match kind {
            Kind::Erase => BODY_ERASED,
            Kind::React | Kind::Unreact => body_hash(b":)"),
            _ => body_hash(&[b'a' + (id % 3) as u8]),
        };
        let invoked_us = self.now_us;
        let index = self.history.send(Send {
            device: user * 2,
            conversation: 0,
            kind,
            target,
            body,
            id,
            invoked_us,
            answered_us: 0,
            outcome: Outcome::Unknown,
        });
        let seq = match outcome {
            Outcome::Failed | Outcome::NoChange => None,
            Outcome::Ok(_) | Outcome::Unknown => Some(self.store(user, kind, target, body, id)),
        };
        let outcome = seq.map_or(Outcome::Failed, Outcome::Ok);
        self.history.answer(index, outcome, self.now_us + 500);
    }

    fn store(&mut self, sender: u32, kind: Kind, target: u64, body: u64, id: u128) -> u64 {
        let seq = self.log.len() as u64 + 1;
        self.log.push(Event {
            conversation: 0,
            sender,
            kind,
            seq,
            target,
            body,
            id,
        });
        for user in 0..self.members.len() as u32 {
            if self.members[user as usize].is_some() {
                self.mailboxes[user as usize].push(seq);
                let position = self.mailboxes[user as usize].len() as u64;
                self.deliver(user * 2, user, position);
                self.deliver(user * 2 + 1, user, position);
            }
        }
        seq
    }

    fn deliver(&mut self, device: u32, user: u32, position: u64) {
        let mut event = self.log[self.mailboxes[user as usize][position as usize - 1] as usize - 1];
        let subject = if event.kind == Kind::Edit {
            event.target
        } else {
            event.seq
        };
        if self.is_erased(subject) {
            event.body = BODY_ERASED;
        }
        event.id = if event.sender == user { event.id } else { 0 };
        self.history.delivered(device, event, position, self.now_us);
    }

    fn window(&self, user: u32, seq: u64) -> bool {
        let past = self.windows.iter().any(|&(of, since, until)| {
            of == user && since <= seq && until.is_none_or(|until| seq < until)
        });
        past || self.members[user as usize].is_some_and(|since| since <= seq)
    }

    /// Writes windows, and what each device shows, by the plainest means.
    pub fn finish(&mut self) {
        for user in 0..self.members.len() as u32 {
            if let Some(since) = self.members[user as usize] {
                self.windows.push((user, since, None));
            }
        }
        for &(user, since, until) in &self.windows {
            self.history.member(user, 0, since, until);
        }
        for user in 0..self.members.len() as u32 {
            let messages: Vec<u32> = (1..=self.log.len() as u64)
                .filter_map(|seq| self.state(user, seq))
                .collect();
            for device in [user * 2, user * 2 + 1] {
                self.history.finished(Final {
                    device,
                    conversation: 0,
                    read: self.log.len() as u64,
                    unread: Some(0),
                    marks: vec![(user, self.log.len() as u64, self.log.len() as u64)],
                    messages: messages.clone(),
                });
            }
        }
    }

    fn state(&mut self, user: u32, seq: u64) -> Option<u32> {
        let event = self.log[seq as usize - 1];
        let hidden = self.hidden.contains(&(user, seq));
        if event.kind != Kind::Message || !self.window(user, seq) || hidden {
            return None;
        }
        let after = &self.log[seq as usize..];
        let about = |kind| {
            after
                .iter()
                .filter(move |e| e.kind == kind && e.target == seq)
        };
        let erased = about(Kind::Erase).next().is_some();
        let edited = about(Kind::Edit)
            .next_back()
            .map_or(event.body, |edit| edit.body);
        let mut reacted = std::collections::BTreeMap::new();
        for event in after.iter().filter(|event| event.target == seq) {
            match event.kind {
                Kind::React => reacted.insert((event.sender, event.body), true),
                Kind::Unreact => reacted.insert((event.sender, event.body), false),
                _ => None,
            };
        }
        let reactions = reacted
            .into_iter()
            .filter(|&(_, on)| on && !erased)
            .map(|(who, _)| who);
        let body = if erased { BODY_ERASED } else { edited };
        let reactions = reaction_hash(reactions);
        Some(self.history.message_state(MessageState {
            seq,
            body,
            reactions,
        }))
    }
}

/// Three users say five lines: seqs 1 to 5, by users 0, 1, 2, 0, 1.
fn talk() -> History {
    clean(3, &[0, 1, 2, 0, 1].map(|user| (Op::Say, user)))
}

/// The device's delivery of this seq.
fn find(history: &History, device: usize, seq: u64) -> usize {
    let of_seq = |seen: &history::Seen| history.events.get(seen.event).seq == seq;
    history.devices[device]
        .stream
        .iter()
        .position(of_seq)
        .unwrap()
}

#[track_caller]
fn assert_only(history: &History, verdict: Verdict, count: u64) {
    let report = check(history);
    let found: Vec<_> = report
        .verdicts
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    assert_eq!(
        found,
        [(&verdict.name().to_owned(), &count)],
        "{:?}",
        report.examples
    );
    assert!(!report.examples[verdict.name()].is_empty());
}

/// Applies a change to every event that any device saw.
fn rewrite(history: &mut History, change: impl Fn(&Event) -> Event) {
    for device in 0..history.devices.len() {
        for at in 0..history.devices[device].stream.len() {
            let event = *history.events.get(history.devices[device].stream[at].event);
            let event = history.events.intern(change(&event));
            history.devices[device].stream[at].event = event;
        }
    }
    // What nobody refers to any more was never seen.
    let mut fresh = interned::Interned::default();
    for device in &mut history.devices {
        for seen in &mut device.stream {
            seen.event = fresh.intern(*history.events.get(seen.event));
        }
    }
    history.events = fresh;
}
