//! Sends against the log: stored twice, stored though refused, stored out of a device's order.
//!
//! Invariant: an entry whose id is known is matched by id alone; only one that no observer saw the
//! id of is matched by what it says, against sends that have found no entry yet.

use std::collections::{HashMap, HashSet};

use super::history::History;
use super::log::Log;
use super::record::{BODY_OVERLAID, Event, Kind, Outcome, Send};
use super::{Report, Verdict};

pub(super) fn check(history: &History, log: &Log, report: &mut Report) {
    let seqs = match_by_id(history, log, report);
    match_by_content(history, log, &seqs, report);
    check_session_order(history, &seqs, report);
}

/// The seq of each send's entry, by id; reports what is stored twice or should not be there.
fn match_by_id(history: &History, log: &Log, report: &mut Report) -> HashMap<u128, u64> {
    let mut outcomes: HashMap<u128, Outcome> = HashMap::with_capacity(history.sends.len());
    let mut doubled = HashSet::new();
    for send in &history.sends {
        let outcome = outcomes.entry(send.id).or_insert(send.outcome);
        match (*outcome, send.outcome) {
            (Outcome::Ok(first), Outcome::Ok(second)) if first != second => {
                doubled.insert(send.id);
                report.add(Verdict::Duplicated, || {
                    format!(
                        "{:032x} was acknowledged with seq {first} and {second}",
                        send.id
                    )
                });
            }
            // Any answer but "failed" means that it may be there.
            (Outcome::Failed, better)
            | (Outcome::Unknown | Outcome::NoChange, better @ Outcome::Ok(_)) => {
                *outcome = better;
            }
            _ => {}
        }
    }
    let mut seqs = HashMap::with_capacity(history.sends.len());
    for entry in log.entries().filter(|entry| entry.id != 0) {
        match outcomes.get(&entry.id) {
            None => unexpected(history, entry, "has an id that nobody sent", report),
            Some(Outcome::Failed) => unexpected(history, entry, "was refused", report),
            Some(_) => match seqs.insert(entry.id, entry.seq) {
                Some(first) if !doubled.contains(&entry.id) => {
                    report.add(Verdict::Duplicated, || {
                        format!("{:032x} stands at seq {first} and {}", entry.id, entry.seq)
                    });
                }
                _ => {}
            },
        }
    }
    seqs
}

fn unexpected(history: &History, entry: &Event, why: &str, report: &mut Report) {
    report.add(Verdict::Unexpected, || {
        let name = &history.conversations[entry.conversation as usize];
        let sender = &history.users[entry.sender as usize];
        format!(
            "{name}, seq {}: {:?} of {sender} {why}",
            entry.seq, entry.kind
        )
    });
}

/// What makes two sends indistinguishable to one who does not see ids.
type Content = (u32, u32, Kind, u64, u64);

/// How many entries a content can still account for.
#[derive(Default)]
struct Account {
    /// Sends without an entry that may have been stored.
    open: u32,
    /// Sends that were stored, or may have been.
    stored: u32,
}

fn match_by_content(history: &History, log: &Log, seqs: &HashMap<u128, u64>, report: &mut Report) {
    let is_anonymous = |entry: &&Event| {
        let shown = entry.body > BODY_OVERLAID || entry.kind == Kind::Erase;
        entry.id == 0 && entry.kind != Kind::System && shown
    };
    let mut accounts: HashMap<Content, Account> = HashMap::new();
    for send in &history.sends {
        let sender = history.devices[send.device as usize].user;
        let content = (send.conversation, sender, send.kind, send.target, send.body);
        let account = accounts.entry(content).or_default();
        if send.outcome != Outcome::Failed {
            account.stored += 1;
            account.open += u32::from(!seqs.contains_key(&send.id));
        }
    }
    for entry in log.entries().filter(is_anonymous) {
        let content = (
            entry.conversation,
            entry.sender,
            entry.kind,
            entry.target,
            entry.body,
        );
        match accounts.get_mut(&content) {
            Some(account) if account.open > 0 => account.open -= 1,
            Some(account) if account.stored > 0 => report.add(Verdict::Duplicated, || {
                let name = &history.conversations[entry.conversation as usize];
                format!(
                    "{name}, seq {}: stored more often than it was sent",
                    entry.seq
                )
            }),
            Some(_) => unexpected(history, entry, "was refused", report),
            None => unexpected(history, entry, "was never sent", report),
        }
    }
}

fn check_session_order(history: &History, seqs: &HashMap<u128, u64>, report: &mut Report) {
    let mut last: HashMap<(u32, u32), &Send> = HashMap::new();
    let mut known = HashSet::with_capacity(history.sends.len());
    for send in &history.sends {
        // A retry that is recorded by itself keeps the first one's place.
        if !known.insert(send.id) {
            continue;
        }
        let Some(&seq) = seqs.get(&send.id) else {
            continue;
        };
        let before = last.insert((send.device, send.conversation), send);
        let Some(&seq_before) = before.and_then(|before| seqs.get(&before.id)) else {
            continue;
        };
        if seq < seq_before {
            report.add(Verdict::SessionOrder, || {
                let device = &history.devices[send.device as usize].name;
                format!(
                    "{device}: {:032x} got seq {seq}, the one before it {seq_before}",
                    send.id
                )
            });
        }
    }
}
