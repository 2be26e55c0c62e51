//! The log of each conversation, put together from what everyone saw and what was acknowledged.
//!
//! Later checks compare devices and sends with it. Finds, on the way, seqs about which observers
//! disagree and seqs that nobody saw.
//!
//! Invariant: entries are by seq, one for each seq that anyone claims.

use std::ops::Range;

use super::history::{History, Window};
use super::record::{BODY_OVERLAID, Event, Kind, Outcome};
use super::{Report, Verdict};

/// All conversations' logs, by the conversation's index.
pub(super) struct Log {
    logs: Vec<Vec<Event>>,
}

/// What someone says stands at a seq.
struct Claim {
    event: Event,
    acknowledged: bool,
}

impl Log {
    pub fn rebuild(history: &History, report: &mut Report) -> Log {
        let mut claims = claims(history);
        claims.sort_by_key(|claim| (claim.event.conversation, claim.event.seq));
        let mut logs = vec![Vec::new(); history.conversations.len()];
        let at = |claim: &Claim| (claim.event.conversation, claim.event.seq);
        for claims in claims.chunk_by(|a, b| at(a) == at(b)) {
            let event = agree(history, claims, report);
            logs[event.conversation as usize].push(event);
        }
        let log = Log { logs };
        log.find_gaps(history, report);
        log
    }

    /// The conversation's entries, by seq.
    pub fn of(&self, conversation: u32) -> &[Event] {
        &self.logs[conversation as usize]
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Event> {
        self.logs.iter().flatten()
    }

    fn find_gaps(&self, history: &History, report: &mut Report) {
        let finished = finished_windows(history);
        for (conversation, log) in self.logs.iter().enumerate() {
            let mut expected = 1;
            for event in log {
                // One for each hole, however wide: a wild seq must not take for ever.
                let hole = expected..event.seq;
                let watched = finished.iter().any(|window| {
                    window.conversation as usize == conversation && window.overlaps(&hole)
                });
                if watched {
                    report.add(Verdict::SeqGap, || {
                        let name = &history.conversations[conversation];
                        let (first, last) = (hole.start, hole.end - 1);
                        format!(
                            "{name}: nobody saw seqs {first} to {last}, though later ones exist"
                        )
                    });
                }
                expected = event.seq.saturating_add(1);
            }
        }
    }
}

impl Window {
    pub fn contains(&self, seq: u64) -> bool {
        self.since <= seq && self.until.is_none_or(|until| seq < until)
    }

    fn overlaps(&self, seqs: &Range<u64>) -> bool {
        let begins = self.since < seqs.end;
        !seqs.is_empty() && begins && self.until.is_none_or(|until| seqs.start < until)
    }
}

/// Windows of users who have a device that finished: what they did not see was not there.
fn finished_windows(history: &History) -> Vec<Window> {
    let mut finished: Vec<(u32, u32)> = history
        .finals
        .iter()
        .map(|last| {
            (
                history.devices[last.device as usize].user,
                last.conversation,
            )
        })
        .collect();
    finished.sort_unstable();
    let is_finished = |window: &&Window| {
        finished
            .binary_search(&(window.user, window.conversation))
            .is_ok()
    };
    let mut windows: Vec<Window> = history
        .windows
        .iter()
        .filter(is_finished)
        .copied()
        .collect();
    // Most members have the same window: looking at each once keeps the search for gaps short.
    windows.sort_by_key(|window| (window.conversation, window.since, window.until));
    windows.dedup_by_key(|window| (window.conversation, window.since, window.until));
    windows
}

fn claims(history: &History) -> Vec<Claim> {
    let seen = history.events.items().iter().map(|&event| Claim {
        event,
        acknowledged: false,
    });
    let acknowledged = history.sends.iter().filter_map(|send| {
        let Outcome::Ok(seq) = send.outcome else {
            return None;
        };
        let event = Event {
            conversation: send.conversation,
            sender: history.devices[send.device as usize].user,
            kind: send.kind,
            seq,
            target: send.target,
            body: send.body,
            id: send.id,
        };
        Some(Claim {
            event,
            acknowledged: true,
        })
    });
    seen.chain(acknowledged).collect()
}

/// Merges what was claimed about one seq; reports at most one quarrel.
fn agree(history: &History, claims: &[Claim], report: &mut Report) -> Event {
    let mut merged = claims[0].event;
    let mut acknowledged_id = 0;
    let mut quarrel = None;
    for claim in claims {
        if claim.acknowledged && acknowledged_id == 0 {
            acknowledged_id = claim.event.id;
        } else if claim.acknowledged && acknowledged_id != claim.event.id {
            quarrel = Some(Verdict::SeqReuse);
        }
        if !merge(&mut merged, &claim.event) && quarrel.is_none() {
            quarrel = Some(Verdict::OrderDivergence);
        }
    }
    if let Some(verdict) = quarrel {
        report.add(verdict, || {
            let name = &history.conversations[merged.conversation as usize];
            let claims: Vec<_> = claims
                .iter()
                .take(3)
                .map(|claim| describe(claim.event))
                .collect();
            format!("{name}, seq {}: {}", merged.seq, claims.join(" / "))
        });
    }
    merged
}

/// Completes `merged` by what another observer was shown; false if the two can't be one event.
fn merge(merged: &mut Event, other: &Event) -> bool {
    let shown = |body: u64| body > BODY_OVERLAID;
    let same_body = merged.body == other.body || !shown(merged.body) || !shown(other.body);
    let same_id = merged.id == other.id || merged.id == 0 || other.id == 0;
    let same =
        (merged.sender, merged.kind, merged.target) == (other.sender, other.kind, other.target);
    if !shown(merged.body) && merged.kind != Kind::Erase {
        merged.body = merged.body.max(other.body);
    }
    merged.id = if merged.id == 0 { other.id } else { merged.id };
    same && same_body && same_id
}

fn describe(event: Event) -> String {
    format!(
        "{:?} of user {} with body {:016x}",
        event.kind, event.sender, event.body
    )
}
