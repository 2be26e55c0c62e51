//! The user of a mailbox: whom they share conversations with, what they are called, their devices.
//!
//! `mailbox_commands` has found the mailbox and answers.
//!
//! Invariant: a row of a user or a device is written with the answer that tells of it.

use super::{Shard, mailboxes::MailboxSlot};
use crate::cells;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::{
        DeviceRow, RevokeDeviceCommand, SharesCommand, SharesResult, StandingResult, UserCommand,
        UserResult, UserRow, command_result::Outcome as Answer,
    },
};
use std::{collections::HashSet, sync::Arc};

/// Conversations named in one answer about shared ones.
const SHARES_MAX: usize = 1_000;

impl Shard {
    pub(super) fn shares(&self, user: &Arc<str>, ask: &SharesCommand) -> Result<Answer, Fault> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
            return Err(super::owner_changing());
        };
        let asked: HashSet<&Bytes> = ask.conversation_ids.iter().collect();
        let shared = live
            .mailbox
            .list
            .current()
            .map(|entry| &entry.conversation_id);
        let shared = shared.filter(|id| asked.is_empty() || asked.contains(id));
        let conversation_ids = shared.take(SHARES_MAX).cloned().collect();
        Ok(Answer::Shares(SharesResult { conversation_ids }))
    }

    pub(super) fn user(&mut self, user: &Arc<str>, change: UserCommand) -> Result<Answer, Fault> {
        let now_ms = self.now_ms();
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return Err(super::owner_changing());
        };
        let before = live.mailbox.user.clone();
        if before.is_none() && !change.create {
            return Ok(Answer::User(UserResult { user: None }));
        }
        let mut row = before.clone().unwrap_or_else(|| UserRow {
            create_time_ms: now_ms,
            ..Default::default()
        });
        row.name = change.name.unwrap_or(row.name);
        row.avatar_url = change.avatar_url.unwrap_or(row.avatar_url);
        row.presence_hidden = change.presence_hidden.unwrap_or(row.presence_hidden);
        if before.as_ref() != Some(&row) {
            row.update_time_ms = now_ms;
            self.batch.cells([cells::user(user, &row)]);
            live.mailbox.user = Some(row.clone());
        }
        Ok(Answer::User(UserResult { user: Some(row) }))
    }

    pub(super) fn standing(&self, user: &Arc<str>, device_id: &str) -> Result<Answer, Fault> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
            return Err(super::owner_changing());
        };
        let device = live.mailbox.devices.get(device_id);
        let revoked_time_ms = device.map_or(0, |device| device.row.revoked_time_ms);
        Ok(Answer::Standing(StandingResult { revoked_time_ms }))
    }

    pub(super) fn revoke(
        &mut self,
        user: &Arc<str>,
        ask: RevokeDeviceCommand,
    ) -> Result<Answer, Fault> {
        let now_ms = self.now_ms();
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return Err(super::owner_changing());
        };
        let Some(device) = live.mailbox.devices.get_mut(&ask.device_id) else {
            return Err(Fault::not_found("device"));
        };
        device.row = DeviceRow {
            revoked_time_ms: now_ms,
            push_registrations: Vec::new(),
            ..device.row.clone()
        };
        device.row.last_seen_time_ms = device.row.last_seen_time_ms.min(now_ms - 1);
        self.batch
            .cells([cells::device(user, &ask.device_id, &device.row)]);
        self.batch.revoked.push((user.clone(), ask.device_id));
        Ok(Answer::Done(Default::default()))
    }
}
