//! Rows: checksums, chains, events under their seqs, and pointers that lead somewhere.

use std::collections::HashMap;

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{MailboxEntry, mailbox_entry};
use heddle_proto::v1::Event;
use prost::Message as _;

use super::{Meter, Report};
use crate::embedded::Engine;
use crate::row::{self, Row};

/// What is known of one log.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub first_seq: u64,
    pub last_seq: u64,
    is_mailbox: bool,
    epoch: u64,
    committed_head: u64,
}

pub type Logs = HashMap<LogId, Extent>;

/// Looks at every row; rows come by log and seq.
pub fn check(engine: &Engine, report: &mut Report, meter: &mut Meter<'_>) -> Logs {
    let mut logs = Logs::new();
    each_row(engine, meter, |key, value| {
        report.bytes += value.len() as u64;
        report.rows += 1;
        let (log_id, row) = match (row::parse_key(key), row::decode(key, value)) {
            (Ok((log_id, _)), Ok(row)) => (log_id, row),
            (Ok((log_id, seq)), Err(damage)) => {
                return report.problem(format!("row {seq} of log {log_id}: {damage}"));
            }
            (Err(damage), _) => return report.problem(format!("a row: {damage}")),
        };
        report.events += row.events.len() as u64;
        let is_mailbox = check_events(&log_id, &row, report);
        check_chain(&log_id, &row, is_mailbox, &mut logs, report);
    })
    .unwrap_or_else(|error| report.problem(error));
    report.logs = logs.len() as u64;
    logs
}

/// Looks whether every pointer of every mailbox leads to an event.
pub fn check_pointers(engine: &Engine, logs: &Logs, report: &mut Report, meter: &mut Meter<'_>) {
    each_row(engine, meter, |key, value| {
        let Ok((log_id, _)) = row::parse_key(key) else {
            return;
        };
        if !logs.get(&log_id).is_some_and(|extent| extent.is_mailbox) {
            return;
        }
        let Ok(row) = row::decode(key, value) else {
            return;
        };
        for bytes in row.events {
            let Ok(entry) = MailboxEntry::decode(bytes) else {
                continue;
            };
            let Some(mailbox_entry::Body::Pointer(pointer)) = entry.body else {
                continue;
            };
            let conversation = LogId::from_wire(&pointer.conversation_id);
            let extent = conversation.and_then(|log_id| logs.get(&log_id));
            let seq = pointer.seq;
            if !extent.is_some_and(|log| (log.first_seq..=log.last_seq).contains(&seq)) {
                let position = entry.position;
                let conversation = conversation.map(|id| id.to_string()).unwrap_or_default();
                report.problem(format!(
                    "mailbox {log_id} position {position} points to event {seq} of conversation \
                     {conversation}, which is missing"
                ));
            }
        }
    })
    // Already told of by the first walk.
    .unwrap_or_default();
}

fn each_row(
    engine: &Engine,
    meter: &mut Meter<'_>,
    mut look: impl FnMut(&[u8], &Bytes),
) -> Result<(), String> {
    for guard in engine.logs.iter() {
        meter.tick();
        let (key, value) = guard.into_inner().map_err(|error| {
            format!("rows: a file of the store is damaged, what follows was not read: {error}")
        })?;
        look(&key, &value.into());
    }
    Ok(())
}

/// Whether the log is a mailbox; every event must carry the seq under which it is stored.
fn check_events(log_id: &LogId, row: &Row, report: &mut Report) -> bool {
    let mut is_mailbox = false;
    for (seq, bytes) in (row.first_seq..).zip(&row.events) {
        let entry = MailboxEntry::decode(bytes.clone()).ok();
        is_mailbox = entry.is_some_and(|entry| entry.position == seq);
        let is_event = || {
            let event = Event::decode(bytes.clone()).ok();
            event
                .is_some_and(|event| event.seq == seq && event.conversation_id == log_id.to_bytes())
        };
        if !is_mailbox && !is_event() {
            report.problem(format!(
                "event {seq} of log {log_id} is not what is stored there"
            ));
        }
    }
    is_mailbox
}

fn check_chain(log_id: &LogId, row: &Row, is_mailbox: bool, logs: &mut Logs, report: &mut Report) {
    let Row {
        first_seq,
        committed_head,
        epoch,
        ..
    } = *row;
    let last_seq = row.last_seq();
    if committed_head >= first_seq {
        report.problem(format!(
            "row {first_seq} of log {log_id} names a committed head of {committed_head}"
        ));
    }
    let Some(log) = logs.get_mut(log_id) else {
        let extent = Extent {
            first_seq,
            last_seq,
            is_mailbox,
            epoch,
            committed_head,
        };
        logs.insert(*log_id, extent);
        return;
    };
    if first_seq != log.last_seq + 1 {
        let (last, log) = (log.last_seq, log_id);
        report.problem(format!(
            "log {log}: a row from {first_seq} follows one that ends at {last}"
        ));
    }
    if epoch < log.epoch {
        report.problem(format!(
            "log {log_id}: the epoch falls to {epoch} at {first_seq}"
        ));
    }
    if committed_head < log.committed_head {
        report.problem(format!(
            "log {log_id}: the committed head falls at {first_seq}"
        ));
    }
    (log.last_seq, log.epoch, log.committed_head) = (last_seq, epoch, committed_head);
}
