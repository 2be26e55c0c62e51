//! Commands about pushes: settings, a test, what became of one, a dead letter sent again.
//!
//! `mailbox_commands` passes them on.

use super::{
    Shard,
    edges::Edge,
    pushes::{About, intent},
};
use crate::{
    cells,
    mailbox::{
        list,
        notices::NO_CONVERSATION,
        push::{Key, Place},
        quiet,
    },
};
use heddle_proto::{
    errors::Fault,
    internal::{
        PushCommand, PushIntent, PushKind, PushSettingsCommand, RedriveCommand, RedriveResult,
        SettledPush, command_result::Outcome as Answer,
    },
    v1::DevicePushSettings,
};
use std::sync::Arc;

/// Who waits for the outcome of an intent.
pub(super) struct Waiter {
    pub edge: Arc<Edge>,
    pub command: u64,
}

impl Shard {
    pub(super) fn push_settings(
        &mut self,
        user: &Arc<str>,
        change: PushSettingsCommand,
    ) -> Result<Answer, Fault> {
        let now_ms = self.now_ms();
        if let Some(settings) = change.device {
            self.device_settings(user, settings)?;
        }
        if let Some(settings) = change.user {
            let live = self.live_mailbox(user).ok_or_else(super::owner_changing)?;
            let row = live
                .mailbox
                .user
                .get_or_insert_with(|| heddle_proto::internal::UserRow {
                    create_time_ms: now_ms,
                    ..Default::default()
                });
            row.push = Some(settings);
            row.update_time_ms = now_ms;
            let cell = cells::user(user, row);
            self.batch.cells([cell]);
        }
        self.mind_pushes(user);
        Ok(Answer::Done(Default::default()))
    }

    fn device_settings(
        &mut self,
        user: &Arc<str>,
        settings: DevicePushSettings,
    ) -> Result<(), Fault> {
        if let Some((field, wrong)) = settings.quiet_hours.as_ref().and_then(quiet::wrong) {
            return Err(Fault::field(format!("device.{field}"), wrong));
        }
        let device_id = settings.device_id.clone();
        let live = self.live_mailbox(user).ok_or_else(super::owner_changing)?;
        let device = live.mailbox.devices.get_mut(&device_id);
        let device = device
            .filter(|device| !device.is_revoked())
            .ok_or_else(|| Fault::not_found("device"))?;
        device.row.push = Some(settings);
        self.store_device(user, &device_id);
        Ok(())
    }

    /// The answer comes with the outcome.
    pub(super) fn test_push(&mut self, user: &Arc<str>, edge: &Arc<Edge>, command: u64) {
        let now_ms = self.now_ms();
        self.next_id += 1;
        let id = self.next_id;
        let Some(live) = self.live_mailbox(user) else {
            return edge.refuse(command, &super::owner_changing());
        };
        let mailbox = &live.mailbox;
        let reached = mailbox.devices.iter().filter(|(_, it)| !it.is_revoked());
        let devices: Vec<_> = reached.map(|(id, _)| id.clone()).collect();
        if devices.is_empty() {
            return edge.refuse(command, &Fault::not_found("device"));
        }
        let test = PushIntent {
            id,
            push_id: format!("{}/test/{id}", mailbox.id),
            position: mailbox.head(),
            ..intent(mailbox, PushKind::Test, &NO_CONVERSATION, &devices, now_ms)
        };
        let edge = edge.clone();
        let waiter = Waiter { edge, command };
        self.leave(user, test, About::Test(waiter));
    }

    pub(super) fn push_outcome(&self, user: &Arc<str>, ask: &PushCommand) -> Result<Answer, Fault> {
        let Some(super::MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
            return Err(super::owner_changing());
        };
        if let Some(settled) = live.mailbox.notices.outcome(&ask.push_id) {
            return Ok(Answer::Push(settled.clone()));
        }
        let mut under_way = self.intents.values();
        if under_way.any(|it| it.user == *user && it.push_id == ask.push_id) {
            return Ok(Answer::Push(SettledPush::default()));
        }
        Err(Fault::not_found("push"))
    }

    /// The letter's device hears how the conversation stands now; once that is settled the letter
    /// goes.
    pub(super) fn redrive(
        &mut self,
        user: &Arc<str>,
        ask: RedriveCommand,
    ) -> Result<Answer, Fault> {
        let now_ms = self.now_ms();
        let key: Key = ask.conversation_id.as_ref().try_into().unwrap_or_default();
        self.next_id += 1;
        let id = self.next_id;
        let live = self.live_mailbox(user).ok_or_else(super::owner_changing)?;
        let mailbox = &mut live.mailbox;
        let device = mailbox.devices.get(&ask.device_id);
        let no_letter = cells::no_dead_letter(ask.partition, ask.clustering);
        if device.is_none_or(|device| device.is_revoked()) {
            self.batch.cells([no_letter]);
            return Ok(Answer::Redrive(RedriveResult::default()));
        }
        let waits = mailbox
            .list
            .get(&key)
            .filter(|entry| list::unread(entry) > 0);
        let last_seq = waits.map(|entry| entry.last_message_seq);
        let kind = match last_seq {
            Some(_) => PushKind::Message,
            None if key == NO_CONVERSATION => PushKind::Badge,
            None => PushKind::Clear,
        };
        let (seq, position) = (last_seq.unwrap_or(0), mailbox.head());
        let push_id = format!("{}/{position}/again/{id}", mailbox.id);
        let again = PushIntent {
            id,
            push_id: push_id.clone(),
            seq,
            position,
            ..intent(mailbox, kind, &key, &[ask.device_id], now_ms)
        };
        if seq > 0 {
            let place = Place { position, seq };
            mailbox.notices.show(key, place, again.badge, now_ms);
        }
        let row = cells::notices(&mailbox.id, &mailbox.notices.to_row());
        self.batch.cells([row]);
        self.leave(user, again, About::Again(key, no_letter));
        Ok(Answer::Redrive(RedriveResult { push_id }))
    }
}
