//! Cells: checksums, known tables, values that can be read, anchors that their logs have reached.

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{
    AnchorRow, ConversationRow, DeadLetterRow, DedupeRow, DeviceCursorRow, DeviceRow,
    MailboxCheckpoint, MemberRow, NoteRow, NoticesRow, OldestWindowRow, OverlayRow, StuckRow,
    Table, UserRow,
};
use prost::{DecodeError, Message};

use super::rows::Logs;
use super::{Meter, Report};
use crate::cell::{self, CellKey};
use crate::embedded::Engine;

/// Looks at every cell.
pub fn check(engine: &Engine, logs: &Logs, report: &mut Report, meter: &mut Meter<'_>) {
    for guard in engine.cells.iter() {
        meter.tick();
        let (key, stored) = match guard.into_inner() {
            Ok((key, stored)) => (key, Bytes::from(stored)),
            Err(error) => {
                let text = "cells: a file of the store is damaged, what follows was not read";
                return report.problem(format!("{text}: {error}"));
            }
        };
        report.bytes += stored.len() as u64;
        match (cell::parse_key(&key), cell::decode_value(&key, &stored)) {
            (Ok(CellKey { table: 0, .. }), Ok(_)) => {}
            (Ok(key), Ok(value)) => {
                report.cells += 1;
                check_value(&key, value, logs, report);
            }
            (Ok(key), Err(damage)) => {
                report.problem(format!("a cell of table {}: {damage}", key.table));
            }
            (Err(damage), _) => report.problem(format!("a cell: {damage}")),
        }
    }
}

fn check_value(key: &CellKey<'_>, value: Bytes, logs: &Logs, report: &mut Report) {
    let table = Table::try_from(i32::from(key.table)).unwrap_or(Table::Unspecified);
    if let Err(error) = decode(table, value.clone()) {
        return report.problem(format!("a cell of {}: {error}", table.as_str_name()));
    }
    if table != Table::Anchors {
        return;
    }
    let anchor = AnchorRow::decode(value).unwrap_or_default();
    let log_id = LogId::from_wire(key.partition);
    let last_seq = log_id.and_then(|log_id| Some(logs.get(&log_id)?.last_seq));
    let expired = anchor.base_seq >= anchor.committed_head;
    if anchor.committed_head > last_seq.unwrap_or(0) && !expired {
        let log = log_id.map(|log_id| log_id.to_string()).unwrap_or_default();
        report.problem(format!(
            "log {log} ends at {}, its anchor knows of {}: events are lost",
            last_seq.unwrap_or(0),
            anchor.committed_head
        ));
    }
}

fn decode(table: Table, value: Bytes) -> Result<(), DecodeError> {
    match table {
        Table::Conversations => is::<ConversationRow>(value),
        Table::Members => is::<MemberRow>(value),
        Table::Overlays => is::<OverlayRow>(value),
        Table::Checkpoints => is::<MailboxCheckpoint>(value),
        Table::Users => is::<UserRow>(value),
        Table::Devices => is::<DeviceRow>(value),
        Table::Notes => is::<NoteRow>(value),
        Table::OldestWindows => is::<OldestWindowRow>(value),
        Table::Anchors => is::<AnchorRow>(value),
        Table::DedupeStubs => is::<DedupeRow>(value),
        Table::Stuck => is::<StuckRow>(value),
        Table::DeviceCursors => is::<DeviceCursorRow>(value),
        Table::Notices => is::<NoticesRow>(value),
        Table::DeadLetters => is::<DeadLetterRow>(value),
        Table::Hidden | Table::Unspecified => Ok(()),
    }
}

fn is<M: Message + Default>(value: Bytes) -> Result<(), DecodeError> {
    M::decode(value).map(drop)
}
