//! What devices show in the end against a replay of the log; marks and unread counts.
//!
//! Invariant: the replay is the plainest possible reading of the rules, in one pass over the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::history::{History, Window};
use super::log::Log;
use super::record::{BODY_ERASED, Event, Final, Kind};
use super::{Report, Verdict, deliveries, reaction_hash};

pub(super) fn check(history: &History, log: &Log, report: &mut Report) {
    check_marks_go_up(history, log, report);
    check_marks_agree(history, report);
    let windows = deliveries::windows(history);
    // Most members have the same windows, and so the same replay.
    let mut replays: HashMap<Vec<Window>, Rc<Replay>> = HashMap::new();
    let hidden = hidden(history);
    for last in &history.finals {
        let user = history.devices[last.device as usize].user;
        let windows = windows
            .get(&(user, last.conversation))
            .map_or(&[][..], Vec::as_slice);
        let key = windows.iter().map(|window| Window { user: 0, ..*window });
        let replay = replays
            .entry(key.collect())
            .or_insert_with(|| Rc::new(Replay::of(log.of(last.conversation), windows)));
        let mine = Mine {
            user,
            hidden: hidden.get(&(user, last.conversation)),
        };
        check_messages(history, last, replay, &mine, report);
        check_unread(history, last, replay, &mine, windows, report);
    }
}

/// What the user deleted for oneself: seq, and whether for certain.
type HiddenSeqs = BTreeMap<u64, bool>;

/// What is a user's own in a conversation.
struct Mine<'a> {
    user: u32,
    hidden: Option<&'a HiddenSeqs>,
}

impl Mine<'_> {
    fn hid(&self, seq: u64) -> Option<bool> {
        self.hidden.and_then(|hidden| hidden.get(&seq)).copied()
    }
}

fn hidden(history: &History) -> HashMap<(u32, u32), HiddenSeqs> {
    let mut hidden: HashMap<_, HiddenSeqs> = HashMap::new();
    for hide in &history.hidden {
        let seqs = hidden.entry((hide.user, hide.conversation)).or_default();
        *seqs.entry(hide.seq).or_default() |= hide.sure;
    }
    hidden
}

/// The messages that a reader with certain windows should show.
struct Replay {
    messages: BTreeMap<u64, Message>,
}

struct Message {
    sender: u32,
    body: u64,
    reactions: BTreeSet<(u32, u64)>,
    /// By an event of the log; the body may be gone before, for those who read late.
    erased: bool,
    /// Changed by an event that the reader was no member for: it may show either state.
    unsure: bool,
}

impl Replay {
    fn of(log: &[Event], windows: &[Window]) -> Replay {
        let mut messages = BTreeMap::new();
        for event in log {
            let due = windows.iter().any(|window| window.contains(event.seq));
            if event.kind == Kind::Message {
                if due {
                    let (sender, body) = (event.sender, event.body);
                    let message = Message {
                        sender,
                        body,
                        reactions: BTreeSet::new(),
                        erased: false,
                        unsure: false,
                    };
                    messages.insert(event.seq, message);
                }
            } else if let Some(message) = messages.get_mut(&event.target) {
                message.unsure |= !due;
                message.apply(event);
            }
        }
        Replay { messages }
    }
}

impl Message {
    fn apply(&mut self, event: &Event) {
        if self.erased {
            return;
        }
        match event.kind {
            Kind::Edit => self.body = event.body,
            Kind::Erase => {
                self.erased = true;
                self.body = BODY_ERASED;
                self.reactions.clear();
            }
            Kind::React => {
                self.reactions.insert((event.sender, event.body));
            }
            Kind::Unreact => {
                self.reactions.remove(&(event.sender, event.body));
            }
            Kind::Message | Kind::System => {}
        }
    }
}

fn check_messages(
    history: &History,
    last: &Final,
    replay: &Replay,
    mine: &Mine,
    report: &mut Report,
) {
    let device = &history.devices[last.device as usize].name;
    let name = &history.conversations[last.conversation as usize];
    let mut diverged = |seq: u64, how: &str| {
        report.add(Verdict::StateDivergence, || {
            format!("{device}, {name}, seq {seq}: {how}")
        });
    };
    let mut shown = BTreeSet::new();
    for state in last.messages.iter().map(|&index| history.states.get(index)) {
        if !shown.insert(state.seq) {
            diverged(state.seq, "is shown twice");
        }
        let Some(message) = replay.messages.get(&state.seq) else {
            diverged(
                state.seq,
                "is shown, but the log has no such message for this member",
            );
            continue;
        };
        if mine.hid(state.seq) == Some(true) {
            diverged(
                state.seq,
                "is shown, though the user deleted it for oneself",
            );
        } else if message.unsure {
        } else if state.body != message.body {
            diverged(state.seq, "has another text than replaying the log gives");
        } else if state.reactions != reaction_hash(message.reactions.iter().copied()) {
            diverged(
                state.seq,
                "has other reactions than replaying the log gives",
            );
        }
    }
    for (&seq, message) in &replay.messages {
        let may_miss = message.body == BODY_ERASED || message.unsure || mine.hid(seq).is_some();
        if !may_miss && !shown.contains(&seq) {
            diverged(seq, "is not shown");
        }
    }
}

/// Unread: others' messages since joining, after one's read mark, not deleted.
fn check_unread(
    history: &History,
    last: &Final,
    replay: &Replay,
    mine: &Mine,
    windows: &[Window],
    report: &mut Report,
) {
    let Some(unread) = last.unread else { return };
    let Some(joined) = windows.iter().map(|window| window.since).max() else {
        return;
    };
    let (mut least, mut most) = (0, 0);
    for (&seq, message) in replay
        .messages
        .range(last.read.saturating_add(1).max(joined)..)
    {
        if message.sender == mine.user {
            // One's own send moves one's own mark, whatever the mark that was reported last.
            (least, most) = (0, 0);
        } else if mine.hid(seq) != Some(true) && (message.body != BODY_ERASED || message.unsure) {
            let sure = mine.hid(seq).is_none() && !message.unsure;
            (least, most) = (least + u64::from(sure), most + 1);
        }
    }
    if !(least..=most).contains(&unread) {
        report.add(Verdict::StateDivergence, || {
            let device = &history.devices[last.device as usize].name;
            let name = &history.conversations[last.conversation as usize];
            format!(
                "{device}, {name}: {unread} unread after {}, should be {most}",
                last.read
            )
        });
    }
}

/// Marks never go back, nor past the log, nor is more read than received.
fn check_marks_go_up(history: &History, log: &Log, report: &mut Report) {
    let mut known: HashMap<(u32, u32, u32), (u64, u64)> = HashMap::new();
    for mark in &history.marks {
        let (delivered, read) = known
            .entry((mark.device, mark.conversation, mark.user))
            .or_default();
        let device = &history.devices[mark.device as usize].name;
        if mark.delivered < *delivered || mark.read < *read {
            report.add(Verdict::CursorBack, || {
                let user = &history.users[mark.user as usize];
                format!("{device}: {user}'s marks went from {delivered}/{read} to {mark:?}")
            });
        }
        let head = log
            .of(mark.conversation)
            .last()
            .map_or(0, |event| event.seq);
        if mark.read.max(mark.delivered) > head {
            report.add(Verdict::StateDivergence, || {
                format!("{device}: a mark beyond the log's end {head}: {mark:?}")
            });
        }
        *delivered = mark.delivered.max(*delivered);
        *read = mark.read.max(*read);
    }
}

/// All finished devices know the same marks of everyone.
fn check_marks_agree(history: &History, report: &mut Report) {
    let mut known: HashMap<(u32, u32), (u64, u64, u32)> = HashMap::new();
    let mut own: HashMap<(u32, u32), (u64, u32)> = HashMap::new();
    for last in &history.finals {
        let device = &history.devices[last.device as usize];
        let (read, first) = *own
            .entry((last.conversation, device.user))
            .or_insert((last.read, last.device));
        if read != last.read {
            diverged(history, last, first, "its user's own read mark", report);
        }
        for &(user, delivered, read) in &last.marks {
            let here = (delivered, read, last.device);
            let there = *known.entry((last.conversation, user)).or_insert(here);
            if (there.0, there.1) != (delivered, read) {
                let what = format!("{}'s marks", history.users[user as usize]);
                diverged(history, last, there.2, &what, report);
            }
        }
    }
}

fn diverged(history: &History, last: &Final, other: u32, what: &str, report: &mut Report) {
    report.add(Verdict::StateDivergence, || {
        let name = |device: u32| &history.devices[device as usize].name;
        let conversation = &history.conversations[last.conversation as usize];
        let (here, there) = (name(last.device), name(other));
        format!("{conversation}: {here} and {there} disagree about {what}")
    });
}
