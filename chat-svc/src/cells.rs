//! Cells: the projection rows that chat-svc owns, with their keys (see `Table` in store.proto).
//!
//! Conversations and mailboxes say what changes; the shard puts the cells into its commit.

use bytes::{BufMut, Bytes, BytesMut};
use heddle_proto::{
    ids::LogId,
    internal::{
        Cell, ConversationRow, DeadLetterRow, DeviceCursorRow, DeviceRow, MailboxCheckpoint,
        MemberRow, NoteRow, NoticesRow, OldestWindowRow, OverlayRow, StuckRow, Table, UserRow,
        overlay_row::Kind,
    },
    keys,
};
use prost::Message;

/// Targets whose overlays share a partition.
pub const OVERLAY_BUCKET_SEQS: u64 = 1024;

fn cell(table: Table, partition: Bytes, clustering: Bytes, value: &impl Message) -> Cell {
    let value = Bytes::from(value.encode_to_vec());
    Cell {
        table: table as i32,
        partition,
        clustering,
        value,
        delete: false,
    }
}

/// A conversation's own row.
pub fn conversation(id: &LogId, row: &ConversationRow) -> Cell {
    cell(Table::Conversations, id.to_bytes(), Bytes::new(), row)
}

/// A stretch of membership.
pub fn member(id: &LogId, row: &MemberRow) -> Cell {
    let mut clustering = BytesMut::with_capacity(row.user_id.len() + 9);
    clustering.put_slice(row.user_id.as_bytes());
    clustering.put_u8(0);
    clustering.put_u64(row.since_seq);
    cell(Table::Members, id.to_bytes(), clustering.freeze(), row)
}

/// The partition of a target's overlays.
pub fn overlay_partition(id: &LogId, target_seq: u64) -> Bytes {
    let mut partition = BytesMut::with_capacity(24);
    partition.put_slice(id.as_bytes());
    partition.put_u64(target_seq / OVERLAY_BUCKET_SEQS);
    partition.freeze()
}

/// What became of a message: one row each for its edit, its erasure and each reaction.
pub fn overlay(id: &LogId, row: &OverlayRow) -> Cell {
    let mut clustering = BytesMut::with_capacity(16);
    clustering.put_u64(row.target_seq);
    match &row.kind {
        Some(Kind::Edited(_)) | None => clustering.put_u8(1),
        Some(Kind::Erased(_)) => clustering.put_u8(2),
        Some(Kind::Reaction(reaction)) => {
            clustering.put_u8(3);
            clustering.put_slice(reaction.user_id.as_bytes());
            clustering.put_u8(0);
            clustering.put_slice(reaction.key.as_bytes());
        }
    }
    let partition = overlay_partition(id, row.target_seq);
    cell(Table::Overlays, partition, clustering.freeze(), row)
}

/// A mailbox's checkpoint.
pub fn checkpoint(mailbox: &LogId, row: &MailboxCheckpoint) -> Cell {
    cell(Table::Checkpoints, mailbox.to_bytes(), Bytes::new(), row)
}

/// A message that a user deleted for oneself.
pub fn hidden(mailbox: &LogId, conversation_id: &[u8], seq: u64) -> Cell {
    let mut clustering = BytesMut::with_capacity(24);
    clustering.put_slice(conversation_id);
    clustering.put_u64(seq);
    cell(Table::Hidden, mailbox.to_bytes(), clustering.freeze(), &())
}

/// A user.
pub fn user(user_id: &str, row: &UserRow) -> Cell {
    cell(Table::Users, text(user_id), Bytes::new(), row)
}

/// A device.
pub fn device(user_id: &str, device_id: &str, row: &DeviceRow) -> Cell {
    cell(Table::Devices, text(user_id), text(device_id), row)
}

/// How far a device has acknowledged.
pub fn device_cursor(mailbox: &LogId, device_id: &str, row: &DeviceCursorRow) -> Cell {
    cell(
        Table::DeviceCursors,
        mailbox.to_bytes(),
        text(device_id),
        row,
    )
}

/// What a mailbox's devices show.
pub fn notices(mailbox: &LogId, row: &NoticesRow) -> Cell {
    cell(Table::Notices, mailbox.to_bytes(), Bytes::new(), row)
}

/// A push that a shard was told is given up.
pub fn dead_letter(shard: u32, row: &DeadLetterRow) -> Cell {
    let partition = keys::of_day_at(row.time_ms, shard);
    let mut clustering = BytesMut::new();
    clustering.put_u64(row.time_ms);
    let result = row.result.as_ref();
    let device_id = result.map_or("", |result| &result.device_id);
    let registration_id = result.map_or("", |result| &result.registration_id);
    for part in [row.push_id.as_str(), device_id, registration_id] {
        clustering.put_slice(part.as_bytes());
        clustering.put_u8(0);
    }
    let table = Table::DeadLetters;
    cell(table, partition, clustering.freeze(), row)
}

/// Takes a dead letter away.
pub fn no_dead_letter(partition: Bytes, clustering: Bytes) -> Cell {
    no_cell(Table::DeadLetters, partition, clustering)
}

/// What a mailbox of a shard could not take. Rows of a day are read the newest first.
pub fn stuck(shard: u32, row: &StuckRow) -> Cell {
    let partition = keys::of_day_at(row.time_ms, shard);
    let mut clustering = BytesMut::with_capacity(24 + row.user_id.len());
    clustering.put_u64(u64::MAX - row.time_ms);
    clustering.put_slice(&row.log_id);
    clustering.put_slice(row.user_id.as_bytes());
    cell(Table::Stuck, partition, clustering.freeze(), row)
}

/// The mailbox has taken it.
pub fn no_stuck(partition: Bytes, clustering: Bytes) -> Cell {
    no_cell(Table::Stuck, partition, clustering)
}

/// The partition of a window's notes.
pub fn note_partition(shard: u32, window: u64) -> Bytes {
    let mut partition = BytesMut::with_capacity(12);
    partition.put_u32(shard);
    partition.put_u64(window);
    partition.freeze()
}

/// A log with work open.
pub fn note(shard: u32, window: u64, log: &LogId, row: &NoteRow) -> Cell {
    cell(
        Table::Notes,
        note_partition(shard, window),
        log.to_bytes(),
        row,
    )
}

/// Takes a note away.
pub fn no_note(partition: Bytes, log: Bytes) -> Cell {
    no_cell(Table::Notes, partition, log)
}

fn no_cell(table: Table, partition: Bytes, clustering: Bytes) -> Cell {
    Cell {
        table: table as i32,
        partition,
        clustering,
        value: Bytes::new(),
        delete: true,
    }
}

/// The oldest window of a shard whose notes count.
pub fn oldest_window(shard: u32, row: &OldestWindowRow) -> Cell {
    let partition = Bytes::copy_from_slice(&shard.to_be_bytes());
    cell(Table::OldestWindows, partition, Bytes::new(), row)
}

fn text(id: &str) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}
