//! Commands to mailboxes: attach, acknowledge, list, hide, settings; `mailbox_user` has users and
//! devices.

use super::{
    Shard,
    batch::Outcome,
    edges::Edge,
    hide,
    input::PeerInput,
    mailboxes::{MailboxSlot, Waiting},
    overloaded, read_only, stuck,
};
use crate::{
    cells,
    mailbox::{list, push::Device},
};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        AckCommand, AckResult, AttachCommand, Command, HideCommand, ListCommand, ListEntryResult,
        ListResult, PeerMark, UserRow, command::Op, command_result::Outcome as Answer,
    },
    time,
    v1::{
        ConversationSettings, Cursor, ErrorReason, HiddenState, ResumeOutcome, StateChange,
        state_change,
    },
};
use prost::Message as _;
use std::sync::Arc;

/// Conversations without a message for longer are not told again what a device has, unless its
/// resume token alone says so.
const REPORT_RECENT_MS: u64 = 600_000;
/// Conversations that are told what a device has when its resume token alone says so.
const REPORTS_MAX: usize = 1_000;

impl Shard {
    pub(super) fn mailbox_command(&mut self, edge: &Arc<Edge>, command: Box<Command>) {
        match self.mailboxes.get_mut(command.user_id.as_str()) {
            Some(MailboxSlot::Ready(_)) if self.batch.is_full() => self.room.push(edge, command),
            Some(MailboxSlot::Ready(_)) if hide::is_unchecked(&command) => {
                self.check_hide(edge, command);
            }
            Some(MailboxSlot::Ready(_)) if stuck::is_redrive(&command) => {
                self.redrive_stuck(edge, command);
            }
            Some(MailboxSlot::Ready(_)) => self.serve_mailbox(edge, *command),
            Some(MailboxSlot::Loading(loading)) => {
                if loading.waiting.len() >= self.around.config.waiting_max {
                    return edge.refuse(command.id, &overloaded());
                }
                loading
                    .waiting
                    .push(Waiting::Command(edge.clone(), command));
            }
            None => {
                let user: Arc<str> = command.user_id.as_str().into();
                self.load_mailbox(user, vec![Waiting::Command(edge.clone(), command)]);
            }
        }
    }

    /// The mailbox is loaded: serves the command.
    fn serve_mailbox(&mut self, edge: &Arc<Edge>, command: Command) {
        let now_ms = self.now_ms();
        let Command {
            id,
            user_id,
            device_id,
            op,
            ..
        } = command;
        let Some((user, _)) = self.mailboxes.get_key_value(user_id.as_str()) else {
            return;
        };
        let user = user.clone();
        if let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(&user) {
            live.used_ms = now_ms;
        }
        let writes = matches!(
            op,
            Some(
                Op::Hide(_)
                    | Op::Settings(_)
                    | Op::RevokeDevice(_)
                    | Op::User(_)
                    | Op::RegisterPush(_)
                    | Op::UnregisterPush(_)
                    | Op::PushSettings(_)
                    | Op::TestPush(_)
                    | Op::Redrive(_)
            )
        );
        if writes && now_ms < self.read_only_until_ms {
            return edge.refuse(id, &read_only("a write was refused a moment ago"));
        }
        let outcome = match op {
            Some(Op::Attach(attach)) => {
                let resumed = self.resumed_at(&user, attach.resume.as_ref());
                let attached = self.attach(&user, device_id.clone(), attach, resumed);
                self.report_delivered(&user, &device_id, resumed.unwrap_or(0));
                attached
            }
            Some(Op::Ack(ack)) => {
                let acked = self.ack(&user, &device_id, &ack);
                self.report_delivered(&user, &device_id, ack.position);
                acked.map(Outcome::Ready)
            }
            Some(Op::Head(head)) => Ok(Outcome::Head(user, head.after)),
            Some(Op::List(ask)) => self.list(&user, &ask).map(Outcome::Ready),
            Some(Op::Hide(hide)) => self.hide(&user, hide).map(Outcome::Ready),
            Some(Op::Settings(settings)) => self.settings(&user, settings).map(Outcome::Ready),
            Some(Op::Shares(ask)) => self.shares(&user, &ask).map(Outcome::Ready),
            Some(Op::User(change)) => self.user(&user, change).map(Outcome::Ready),
            Some(Op::RevokeDevice(ask)) => self.revoke(&user, ask).map(Outcome::Ready),
            Some(Op::RegisterPush(it)) => self.register_push(&user, it).map(Outcome::Ready),
            Some(Op::UnregisterPush(it)) => self.unregister_push(&user, &it).map(Outcome::Ready),
            Some(Op::PushSettings(it)) => self.push_settings(&user, it).map(Outcome::Ready),
            Some(Op::TestPush(_)) => return self.test_push(&user, edge, id),
            Some(Op::Push(ask)) => self.push_outcome(&user, &ask).map(Outcome::Ready),
            Some(Op::Redrive(ask)) => self.redrive(&user, ask).map(Outcome::Ready),
            Some(Op::Standing(_)) => self.standing(&user, &device_id).map(Outcome::Ready),
            _ => Err(Fault::field("op", "this is no command to a mailbox")),
        };
        if id > 0 {
            let told = |fault: Fault| Outcome::Ready(Answer::Error(fault.to_wire()));
            self.batch.answer(edge, id, outcome.unwrap_or_else(told));
        }
    }

    /// Up to where a resume token says that its device has all, if it lies on this line of history.
    fn resumed_at(&self, user: &Arc<str>, resume: Option<&Cursor>) -> Option<u64> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
            return None;
        };
        let resumes = live.mailbox.judge(resume) == ResumeOutcome::Resumed;
        resume.filter(|_| resumes).map(|resume| resume.position)
    }

    fn attach(
        &mut self,
        user: &Arc<str>,
        device_id: String,
        attach: AttachCommand,
        resumed: Option<u64>,
    ) -> Result<Outcome, Fault> {
        let now_ms = self.now_ms();
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return Err(super::owner_changing());
        };
        let mailbox = &mut live.mailbox;
        // While the store takes no writes a session opens all the same: its rows are written later.
        let writes = now_ms >= self.read_only_until_ms;
        if mailbox.user.is_none() && writes {
            let row = UserRow {
                create_time_ms: now_ms,
                update_time_ms: now_ms,
                ..Default::default()
            };
            self.batch.cells([cells::user(user, &row)]);
            mailbox.user = Some(row);
        }
        if !device_id.is_empty() {
            let known = mailbox.devices.get(&device_id);
            let revoked_ms = known.map_or(0, |device| device.row.revoked_time_ms);
            if revoked_ms > 0 && attach.token_issued_time_ms <= revoked_ms {
                let text = "this device was revoked; sign in again to get a newer token";
                return Err(Fault::new(ErrorReason::DeviceRevoked, text));
            }
            let head = mailbox.cursor(0).position;
            let device = mailbox.devices.entry(device_id.clone()).or_insert_with(|| {
                let mut device = Device::default();
                device.row.first_seen_time_ms = now_ms;
                device.cursor.position = resumed.unwrap_or(head);
                device
            });
            if device.resumed_at(resumed.unwrap_or(0)) {
                self.cursors_dirty.insert((user.clone(), device_id.clone()));
            }
            device.row.last_seen_time_ms = now_ms;
            device.row.app_version.clone_from(&attach.app_version);
            if writes {
                let row = cells::device(user, &device_id, &device.row);
                self.batch.cells([row]);
            }
        }
        Ok(Outcome::Attach(user.clone(), Box::new((device_id, attach))))
    }

    fn ack(&mut self, user: &Arc<str>, device_id: &str, ack: &AckCommand) -> Result<Answer, Fault> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return Err(super::owner_changing());
        };
        if ack.position > live.mailbox.head() {
            let text = format!("is beyond the mailbox's head {}", live.mailbox.head());
            return Err(Fault::field("ack.position", text));
        }
        let Some(device) = live.mailbox.devices.get_mut(device_id) else {
            return Ok(Answer::Ack(AckResult {
                previous_position: ack.position,
            }));
        };
        let previous_position = device.cursor.position;
        if ack.position > previous_position {
            device.cursor.position = ack.position;
            self.cursors_dirty
                .insert((user.clone(), device_id.to_owned()));
        }
        if ack.foreground && ack.position > device.cursor.foreground_position {
            device.cursor.foreground_position = ack.position;
            self.cursors_dirty
                .insert((user.clone(), device_id.to_owned()));
        }
        Ok(Answer::Ack(AckResult { previous_position }))
    }

    /// A device has all there is, for the first time since the mailbox was loaded or since it came
    /// back with more than it had acknowledged: its conversations are told, since a report may have
    /// died with the last owner before it was stored, or with the last session before it was made.
    fn report_delivered(&mut self, user: &Arc<str>, device_id: &str, position: u64) {
        let recent_ms = self.now_ms().saturating_sub(REPORT_RECENT_MS);
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return;
        };
        let mailbox = &mut live.mailbox;
        let head = mailbox.cursor(0).position;
        let Some(device) = mailbox.devices.get_mut(device_id) else {
            return;
        };
        if device.reported || position < head || head == 0 {
            return;
        }
        device.reported = true;
        let unsaid = device
            .unsaid_from
            .take()
            .map_or(0, |from| head.saturating_sub(from));
        let unsaid = usize::try_from(unsaid).map_or(REPORTS_MAX, |it| it.min(REPORTS_MAX));
        let shard_count = self.around.peers.len() as u32;
        for (nth, entry) in mailbox.list.by_activity().into_iter().enumerate() {
            let log = LogId::from_wire(&entry.conversation_id);
            // Each entry is of one conversation, so those of the last few are the last few active.
            let tells = nth < unsaid || entry.activity_time_ms > recent_ms;
            let (Some(log), true) = (log, tells) else {
                continue;
            };
            let report = PeerMark {
                conversation_id: entry.conversation_id.clone(),
                user_id: user.to_string(),
                delivered_seq: entry.last_seq,
            };
            let shard = log.shard(shard_count);
            self.unsent.push_back((shard, PeerInput::Mark(report)));
        }
    }

    fn list(&self, user: &Arc<str>, ask: &ListCommand) -> Result<Answer, Fault> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
            return Err(super::owner_changing());
        };
        let mailbox = &live.mailbox;
        let (page, more) = mailbox
            .list
            .page(ask.after.as_ref(), ask.entries_max.max(1) as usize);
        let entries = page.into_iter().map(|entry| ListEntryResult {
            unread_count: list::unread(entry),
            unread_mention_count: entry.mention_seqs.len() as u64,
            entry: Some(entry.clone()),
        });
        // The answer goes out once this batch, and so all up to this head, is committed.
        let snapshot = Some(mailbox.accepted_cursor(self.nonce()));
        Ok(Answer::List(ListResult {
            entries: entries.collect(),
            more,
            snapshot,
        }))
    }

    fn hide(&mut self, user: &Arc<str>, hide: HideCommand) -> Result<Answer, Fault> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return Err(super::owner_changing());
        };
        if live.mailbox.list.get(&hide.conversation_id).is_none() {
            return Err(Fault::not_found("conversation"));
        }
        let mailbox = live.mailbox.id;
        let HideCommand {
            conversation_id,
            seqs,
            ..
        } = hide;
        if seqs.is_empty() {
            return Ok(Answer::Done(Default::default()));
        }
        self.batch.cells(
            seqs.iter()
                .map(|seq| cells::hidden(&mailbox, &conversation_id, *seq)),
        );
        let hidden = HiddenState {
            conversation_id,
            seqs,
        };
        self.own_state(user, state_change::Kind::Hidden(hidden));
        Ok(Answer::Done(Default::default()))
    }

    fn settings(
        &mut self,
        user: &Arc<str>,
        settings: ConversationSettings,
    ) -> Result<Answer, Fault> {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return Err(super::owner_changing());
        };
        if live.mailbox.list.get(&settings.conversation_id).is_none() {
            return Err(Fault::not_found("conversation"));
        }
        self.own_state(user, state_change::Kind::Settings(settings));
        Ok(Answer::Done(Default::default()))
    }

    fn own_state(&mut self, user: &Arc<str>, kind: state_change::Kind) {
        let create_time = Some(time::timestamp(self.now_ms()));
        let change = StateChange {
            create_time,
            kind: Some(kind),
        };
        self.take_state(user, &Bytes::from(change.encode_to_vec()), None);
    }
}
