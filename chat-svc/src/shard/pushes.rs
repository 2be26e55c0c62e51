//! Pushes: once the grace time is over, intents go to notify-svc; settled ones move the push
//! position.

use super::{Shard, mailboxes::MailboxSlot};
use crate::mailbox::{
    push::{Waiting, devices_due},
    registrations,
};
use heddle_kit::link::Outbox;
use heddle_proto::internal::{PushIntent, PushOutcome};
use std::sync::Arc;

/// How long to wait before an intent that was not settled is sent again, in milliseconds.
const AGAIN_MS: u64 = 1_000;

impl Shard {
    /// Looks at a mailbox's pushes once their grace time is over.
    pub(super) fn schedule_push(&mut self, user: &Arc<str>, now_ms: u64) {
        let due_ms = now_ms + self.around.config.push_grace_ms;
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return;
        };
        if !live.push_scheduled {
            live.push_scheduled = true;
            self.timers.push(due_ms, user.clone());
        }
    }

    /// The grace time of something in this mailbox is over.
    pub(super) fn push_due(&mut self, user: &Arc<str>) {
        let (now_ms, grace_ms) = (self.now_ms(), self.around.config.push_grace_ms);
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return;
        };
        live.push_scheduled = false;
        let mut unsettled = false;
        for (conversation, waiting) in live.mailbox.pushes.due(now_ms, grace_ms) {
            let mailbox = &mut live.mailbox;
            let Some(intent) = intent(mailbox, &conversation, &waiting, now_ms) else {
                mailbox.pushes.settle(&conversation);
                continue;
            };
            self.next_id += 1;
            let intent = PushIntent {
                id: self.next_id,
                ..intent
            };
            let sent = self
                .notify
                .as_ref()
                .is_some_and(|notify| notify.try_send(intent).is_ok());
            if sent {
                mailbox.pushes.sent(&conversation, self.next_id);
                self.intents
                    .insert(self.next_id, (user.clone(), conversation));
            }
            unsettled |= !sent;
        }
        if unsettled
            || !live
                .mailbox
                .pushes
                .due(u64::MAX - grace_ms, grace_ms)
                .is_empty()
        {
            live.push_scheduled = true;
            self.timers.push(now_ms + AGAIN_MS, user.clone());
        }
    }

    /// notify-svc has settled an intent, or asks for it again.
    pub(super) fn push_settled(&mut self, outcome: PushOutcome) {
        let Some((user, conversation)) = self.intents.remove(&outcome.id) else {
            return;
        };
        let now_ms = self.now_ms();
        self.disowned(&user, outcome.dead_registrations);
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(&user) else {
            return;
        };
        if outcome.settled {
            live.mailbox.pushes.settle(&conversation);
        } else {
            tracing::warn!(
                detail = outcome.detail,
                "a push was not settled; it will be sent again"
            );
            live.mailbox.pushes.again(&conversation);
        }
        if !live.mailbox.pushes.is_empty() && !live.push_scheduled {
            live.push_scheduled = true;
            self.timers.push(now_ms + AGAIN_MS, user);
        }
    }

    /// The link to notify-svc is up, or lost: what was under way is sent again.
    pub(super) fn notify_link(&mut self, outbox: Option<Outbox<PushIntent>>) {
        self.notify = outbox;
        for (user, conversation) in std::mem::take(&mut self.intents).into_values() {
            if let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(&user) {
                live.mailbox.pushes.again(&conversation);
            }
            let now_ms = self.now_ms();
            self.schedule_push(&user, now_ms);
        }
    }
}

/// The intent for what waits, or `None` where nobody is due one.
fn intent(
    mailbox: &crate::mailbox::Mailbox,
    conversation: &[u8; 16],
    waiting: &Waiting,
    now_ms: u64,
) -> Option<PushIntent> {
    let entry = mailbox.list.get(conversation)?;
    let silent =
        entry.until_seq > 0 || entry.read_seq >= waiting.last_seq || entry.muted_until_ms > now_ms;
    let devices = devices_due(&mailbox.devices, waiting);
    if silent || devices.is_empty() {
        return None;
    }
    Some(PushIntent {
        id: 0,
        user_id: mailbox.user_id.clone(),
        registrations: registrations::of(&mailbox.devices, &devices),
        device_ids: devices.into_iter().map(str::to_owned).collect(),
        push_id: format!("{}/{}", mailbox.id, waiting.last_position),
        conversation_id: conversation.to_vec().into(),
        seq: waiting.last_seq,
        position: waiting.last_position,
        count: waiting.count,
        badge: mailbox.list.badge(now_ms),
        mentioned: waiting.mentioned,
    })
}
