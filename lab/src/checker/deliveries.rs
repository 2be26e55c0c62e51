//! Each device's stream against the log: lost, doubled, out of order, not for it, erased before.
//!
//! Invariant: a device is judged for what it should have seen only in conversations that it
//! finished, but for what it should not have seen always.

use std::collections::HashMap;

use super::history::{Device, History, Seen, Window};
use super::log::Log;
use super::record::{BODY_OVERLAID, Event, Kind};
use super::{Report, Verdict};

/// How long after an erasure's OK a delivery may still have been under way, on a session that was
/// open before. What is asked for after the OK has no such excuse.
const IN_FLIGHT_US: u64 = 1_000_000;

pub(super) fn check(history: &History, log: &Log, report: &mut Report) {
    let windows = windows(history);
    let erasures = erasures(history);
    for device in &history.devices {
        check_cursor(history, device, report);
        check_places(history, device, report);
        check_strangers(history, device, &windows, report);
        check_erasures(history, device, &erasures, report);
    }
    check_lost(history, log, &windows, report);
    check_positions_of_users(history, report);
}

/// Windows by user and conversation.
pub(super) fn windows(history: &History) -> HashMap<(u32, u32), Vec<Window>> {
    let mut windows: HashMap<_, Vec<Window>> = HashMap::new();
    for window in &history.windows {
        windows
            .entry((window.user, window.conversation))
            .or_default()
            .push(*window);
    }
    windows
}

/// When each erasure was answered OK, by conversation and seq of the erased.
fn erasures(history: &History) -> HashMap<(u32, u64), u64> {
    let mut erasures = HashMap::new();
    for send in history.sends.iter().filter(|send| send.kind == Kind::Erase) {
        if send.outcome.is_ok() {
            let first = erasures
                .entry((send.conversation, send.target))
                .or_insert(u64::MAX);
            *first = send.answered_us.min(*first);
        }
    }
    erasures
}

/// The device's stream without its resumes.
fn events<'a>(
    history: &'a History,
    device: &'a Device,
) -> impl Iterator<Item = (&'a Seen, &'a Event)> {
    let seen = device
        .stream
        .iter()
        .filter(|seen| seen.event != Seen::RESUMED);
    seen.map(|seen| (seen, history.events.get(seen.event)))
}

fn check_cursor(history: &History, device: &Device, report: &mut Report) {
    let mut cursor = 0;
    for seen in &device.stream {
        if seen.event == Seen::RESUMED {
            cursor = seen.position;
        } else if seen.position != 0 {
            if seen.position <= cursor {
                report.add(Verdict::CursorBack, || {
                    let seq = history.events.get(seen.event).seq;
                    format!(
                        "{}: position {} (seq {seq}) after {cursor}",
                        device.name, seen.position
                    )
                });
            }
            cursor = cursor.max(seen.position);
        }
    }
}

/// An event has one position in a mailbox, and positions follow the conversation's order.
fn check_places(history: &History, device: &Device, report: &mut Report) {
    let delivered = events(history, device).filter(|(seen, _)| seen.position != 0);
    let mut places: Vec<(u32, u64, u64)> = delivered
        .map(|(seen, event)| (event.conversation, seen.position, event.seq))
        .collect();
    places.sort_unstable();
    places.dedup();
    let mut last_seqs: HashMap<u32, u64> = HashMap::new();
    let mut out_of_order = Vec::new();
    for &(conversation, position, seq) in &places {
        let last = last_seqs.entry(conversation).or_default();
        if seq < *last {
            out_of_order.push((conversation, seq, position));
        }
        *last = seq.max(*last);
    }
    let mut by_seq: Vec<_> = places
        .iter()
        .map(|&(conv, pos, seq)| (conv, seq, pos))
        .collect();
    by_seq.sort_unstable();
    let mut doubled = Vec::new();
    for pair in by_seq.windows(2) {
        if (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1) {
            doubled.push((pair[0].0, pair[0].1));
            report.add(Verdict::Duplicated, || {
                let (_, seq, first) = pair[0];
                format!(
                    "{}: seq {seq} at positions {first} and {}",
                    device.name, pair[1].2
                )
            });
        }
    }
    // One that comes a second time is doubled, not out of order.
    out_of_order.retain(|place| doubled.binary_search(&(place.0, place.1)).is_err());
    for (_, seq, position) in out_of_order {
        report.add(Verdict::OrderDivergence, || {
            format!(
                "{}: seq {seq} at position {position}, after a later one",
                device.name
            )
        });
    }
}

fn check_strangers(
    history: &History,
    device: &Device,
    windows: &HashMap<(u32, u32), Vec<Window>>,
    report: &mut Report,
) {
    for (_, event) in events(history, device) {
        let windows = windows.get(&(device.user, event.conversation));
        if !windows.is_some_and(|all| all.iter().any(|window| window.contains(event.seq))) {
            report.add(Verdict::SeenByStranger, || {
                let name = &history.conversations[event.conversation as usize];
                format!(
                    "{} saw {name}, seq {}, without being a member",
                    device.name, event.seq
                )
            });
        }
    }
}

fn check_erasures(
    history: &History,
    device: &Device,
    erasures: &HashMap<(u32, u64), u64>,
    report: &mut Report,
) {
    if erasures.is_empty() {
        return;
    }
    let mut session_us = 0;
    for seen in &device.stream {
        if seen.event == Seen::RESUMED {
            session_us = seen.at_us;
            continue;
        }
        let event = history.events.get(seen.event);
        // An edit carries a body of its target, so it must be gone as well.
        let subject = if event.kind == Kind::Edit {
            event.target
        } else {
            event.seq
        };
        let has_body = matches!(event.kind, Kind::Message | Kind::Edit);
        let Some(&erased_us) = erasures.get(&(event.conversation, subject)) else {
            continue;
        };
        let asked_after = match seen.position {
            0 => seen.at_us > erased_us,
            _ => session_us > erased_us || seen.at_us > erased_us.saturating_add(IN_FLIGHT_US),
        };
        if has_body && event.body >= BODY_OVERLAID && asked_after {
            report.add(Verdict::SeenAfterErasure, || {
                let late_us = seen.at_us.saturating_sub(erased_us);
                format!(
                    "{} saw seq {} {late_us} us after the OK",
                    device.name, event.seq
                )
            });
        }
    }
}

/// A finished device has seen every event of the log in its user's windows.
fn check_lost(
    history: &History,
    log: &Log,
    windows: &HashMap<(u32, u32), Vec<Window>>,
    report: &mut Report,
) {
    let mut finished: Vec<(u32, u32)> = history
        .finals
        .iter()
        .map(|last| (last.device, last.conversation))
        .collect();
    finished.sort_unstable();
    finished.dedup();
    for finals in finished.chunk_by(|a, b| a.0 == b.0) {
        let device = &history.devices[finals[0].0 as usize];
        let mut seen: Vec<(u32, u64)> = events(history, device)
            .map(|(_, event)| (event.conversation, event.seq))
            .collect();
        seen.sort_unstable();
        for &(_, conversation) in finals {
            let Some(windows) = windows.get(&(device.user, conversation)) else {
                continue;
            };
            for event in log.of(conversation) {
                let due = windows.iter().any(|window| window.contains(event.seq));
                if due && seen.binary_search(&(conversation, event.seq)).is_err() {
                    report.add(Verdict::Lost, || {
                        let name = &history.conversations[conversation as usize];
                        format!("{} never saw {name}, seq {}", device.name, event.seq)
                    });
                }
            }
        }
    }
}

/// A position means the same event on every device of a user.
fn check_positions_of_users(history: &History, report: &mut Report) {
    let mut devices: Vec<&Device> = history.devices.iter().collect();
    devices.sort_by_key(|device| device.user);
    for devices in devices
        .chunk_by(|a, b| a.user == b.user)
        .filter(|chunk| chunk.len() > 1)
    {
        let mut events_at: HashMap<u64, (u32, u64)> = HashMap::new();
        for device in devices {
            for (seen, event) in events(history, device).filter(|(seen, _)| seen.position != 0) {
                let here = (event.conversation, event.seq);
                let there = *events_at.entry(seen.position).or_insert(here);
                if there != here {
                    report.add(Verdict::OrderDivergence, || {
                        let (position, seq) = (seen.position, there.1);
                        format!(
                            "{}: position {position} is seq {}, on another device seq {seq}",
                            device.name, event.seq
                        )
                    });
                }
            }
        }
    }
}
