//! Pushes: once the grace time is over, intents go to notify-svc (P9).
//!
//! `timers` calls [`Shard::push_due`]; `mailbox::policy` decides who gets one, `previews` reads
//! what it shows, `push_outcomes` hears what became of it.
//!
//! Invariant: an intent leaves only once the store knows what devices may show because of it, and
//! is in `intents` until its outcome has come, its link broke, or the shard is given up.

use super::{
    Shard,
    mailboxes::{LiveMailbox, MailboxSlot},
    previews::Preview,
    push_commands::Waiter,
};
use crate::{
    cells,
    mailbox::{
        Mailbox, list,
        notices::{Due, NO_CONVERSATION},
        policy,
        push::{Key, Place, Stage},
    },
};
use heddle_kit::link::Outbox;
use heddle_proto::{
    internal::{Cell, PushDevice, PushIntent, PushKind},
    v1::PushPreview,
};
use std::{collections::HashSet, sync::Arc};

/// How long to wait before what came to nothing is tried again, in milliseconds.
const AGAIN_MS: u64 = 1_000;
/// How long what is to be taken back waits for more of the same, in milliseconds.
const TAKE_BACK_MS: u64 = 500;

/// An intent on its way.
pub(super) struct Intent {
    pub user: Arc<str>,
    pub about: About,
    pub push_id: String,
    pub seq: u64,
    pub badge: u64,
}

/// What an intent is for.
pub(super) enum About {
    /// Messages of this conversation.
    Messages(Key),
    /// To take something back.
    TakeBack(Due),
    /// A dead letter, which goes once this is settled.
    Again(Key, Cell),
    /// A test; a person waits for the outcome.
    Test(Waiter),
}

impl About {
    /// The conversation.
    pub fn key(&self) -> Key {
        match self {
            Self::Messages(key) | Self::Again(key, _) => *key,
            Self::TakeBack(due) => due.key(),
            Self::Test(_) => NO_CONVERSATION,
        }
    }
}

impl Shard {
    /// Looks at a mailbox's pushes when the first of them is due.
    pub(super) fn schedule_push(&mut self, user: &Arc<str>) {
        let (now_ms, config) = (self.now_ms(), &self.around.config);
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return;
        };
        let quiet = live.mailbox.notices.is_empty();
        let (grace_ms, window_ms) = (config.push_grace_ms, config.push_window_ms);
        let scheduled = live.push_due_ms > 0 && live.push_due_ms <= now_ms + grace_ms;
        if quiet && scheduled {
            // What comes now is due later.
            return;
        }
        let due_ms = live.mailbox.pushes.due_ms(grace_ms, window_ms);
        let takes_back = !quiet && !live.mailbox.take_back(now_ms).is_empty();
        let back_ms = takes_back.then_some(now_ms + TAKE_BACK_MS);
        if let Some(due_ms) = due_ms.into_iter().chain(back_ms).min() {
            self.look_at_pushes(user, due_ms);
        }
    }

    fn look_at_pushes(&mut self, user: &Arc<str>, due_ms: u64) {
        if let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user)
            && (live.push_due_ms == 0 || due_ms < live.push_due_ms)
        {
            live.push_due_ms = due_ms;
            self.timers.push(due_ms, user.clone());
        }
    }

    /// Something in this mailbox is due, as was scheduled for `due_ms`.
    pub(super) fn push_due(&mut self, user: &Arc<str>, due_ms: u64) {
        let now_ms = self.now_ms();
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return;
        };
        if live.push_due_ms != due_ms {
            return;
        }
        live.push_due_ms = 0;
        if self.notify.is_none() {
            return self.look_at_pushes(user, now_ms + AGAIN_MS);
        }
        for (conversation, place) in self.worth_a_push(user) {
            self.push_about(user, conversation, place);
        }
        self.take_back(user);
        self.mind_pushes(user);
    }

    /// Conversations that are due and worth a push; the others are settled.
    fn worth_a_push(&mut self, user: &Arc<str>) -> Vec<(Key, Place)> {
        let (now_ms, config) = (self.now_ms(), self.around.config.clone());
        let Some(live) = self.live_mailbox(user) else {
            return Vec::new();
        };
        let mailbox = &mut live.mailbox;
        let (grace_ms, window_ms) = (config.push_grace_ms, config.push_window_ms);
        let mut worth = Vec::new();
        for conversation in mailbox.pushes.due(now_ms, grace_ms, window_ms) {
            match due(mailbox, &conversation, now_ms) {
                Some((place, _)) => worth.push((conversation, place)),
                None => mailbox.pushes.settle(&conversation),
            }
        }
        worth
    }

    fn push_about(&mut self, user: &Arc<str>, conversation: Key, place: Place) {
        if self.around.config.push_titles || self.around.config.push_previews {
            if let Some(live) = self.live_mailbox(user) {
                live.mailbox.pushes.reading(&conversation);
            }
            return self.read_preview(user, conversation, place.seq);
        }
        self.push_messages(user, conversation, &Preview::default());
    }

    /// What it shows is known: the intent leaves with the batch, if it is still worth it.
    pub(super) fn push_messages(&mut self, user: &Arc<str>, conversation: Key, preview: &Preview) {
        let (now_ms, intent_id) = (self.now_ms(), self.intent_id());
        let config = self.around.config.clone();
        let is_full = self.batch.is_full();
        let Some(live) = self.live_mailbox(user) else {
            return;
        };
        let mailbox = &mut live.mailbox;
        if is_full {
            mailbox.pushes.again(&conversation);
            return self.push_later(user);
        }
        let stage = mailbox.pushes.get(&conversation).map(|it| it.stage);
        if matches!(stage, None | Some(Stage::Sent(..))) {
            return;
        }
        let Some((place, devices)) = due(mailbox, &conversation, now_ms) else {
            mailbox.pushes.settle(&conversation);
            return self.mind_pushes(user);
        };
        // A newer message came while an older one was read: its text is not this one's.
        let shows = config.push_previews && preview.seq == place.seq;
        let intent = PushIntent {
            id: intent_id,
            push_id: push_id(mailbox, place),
            seq: place.seq,
            position: place.position,
            title: preview.title.clone(),
            sender_name: preview.sender_name.clone(),
            preview: if shows {
                preview.text.clone()
            } else {
                String::new()
            },
            ..intent(mailbox, PushKind::Message, &conversation, &devices, now_ms)
        };
        mailbox.pushes.sent(&conversation, intent_id, now_ms);
        let badge = intent.badge;
        mailbox.notices.show(conversation, place, badge, now_ms);
        let row = cells::notices(&mailbox.id, &mailbox.notices.to_row());
        self.batch.cells([row]);
        self.leave(user, intent, About::Messages(conversation));
    }

    /// What is read or erased is taken off the devices that may show it.
    fn take_back(&mut self, user: &Arc<str>) {
        let now_ms = self.now_ms();
        let Some(live) = self.live_mailbox(user) else {
            return;
        };
        for due in live.mailbox.take_back(now_ms) {
            let intent_id = self.intent_id();
            let Some(live) = self.live_mailbox(user) else {
                return;
            };
            let mailbox = &mut live.mailbox;
            let head = mailbox.head();
            let key = due.key();
            // It takes the place of the push about this message, not of one about a newer message,
            // which may be waiting for its time.
            let position = mailbox.notices.place(&key).map_or(head, |it| it.position);
            let (kind, word) = match due {
                Due::Clear(_) => (PushKind::Clear, "clear"),
                Due::Update(_) => (PushKind::Update, "update"),
                Due::Badge => (PushKind::Badge, "badge"),
            };
            // Who has seen all this in the foreground shows the right thing by itself.
            let unaware = mailbox.devices.iter().filter(|(_, device)| {
                !device.is_revoked() && device.cursor.foreground_position < head
            });
            let devices: Vec<_> = unaware.map(|(id, _)| id.clone()).collect();
            let intent = PushIntent {
                id: intent_id,
                push_id: format!("{}/{position}/{word}/{head}", mailbox.id),
                position,
                ..intent(mailbox, kind, &key, &devices, now_ms)
            };
            mailbox.notices.sent(due);
            self.leave(user, intent, About::TakeBack(due));
        }
    }

    fn intent_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The intent leaves once this batch is committed.
    pub(super) fn leave(&mut self, user: &Arc<str>, intent: PushIntent, about: About) {
        let under_way = Intent {
            user: user.clone(),
            about,
            push_id: intent.push_id.clone(),
            seq: intent.seq,
            badge: intent.badge,
        };
        self.intents.insert(intent.id, under_way);
        self.batch.intent(intent);
    }

    /// What devices may show is stored.
    pub(super) fn send_intents(&mut self, intents: Vec<PushIntent>) {
        for mut intent in intents {
            if self.erasures.is_erased(&intent.conversation_id, intent.seq) {
                intent.preview.clear();
            }
            let id = intent.id;
            let sent = match &self.notify {
                Some(notify) => notify.try_send(intent).is_ok(),
                None => false,
            };
            if !sent {
                self.not_pushed(id);
            }
        }
    }

    /// The link to notify-svc is up, or lost: what was under way is sent again.
    pub(super) fn notify_link(&mut self, outbox: Option<Outbox<PushIntent>>) {
        self.notify = outbox;
        let batches = self.in_flight.iter().chain([&self.batch]);
        let leaving = batches.flat_map(|batch| &batch.intents);
        let leaving: HashSet<u64> = leaving.map(|intent| intent.id).collect();
        let under_way = self.intents.keys().copied();
        let lost: Vec<_> = under_way.filter(|id| !leaving.contains(id)).collect();
        for id in lost {
            self.not_pushed(id);
        }
    }

    /// Looks again when it is time, and keeps a note for as long as something is owed.
    pub(super) fn mind_pushes(&mut self, user: &Arc<str>) {
        let now_ms = self.now_ms();
        if let Some(live) = self.live_mailbox(user) {
            live.owes = live.mailbox.owes(now_ms);
        }
        self.schedule_push(user);
    }

    /// The same after a failure: not at once.
    pub(super) fn push_later(&mut self, user: &Arc<str>) {
        let again_ms = self.now_ms() + AGAIN_MS;
        if let Some(live) = self.live_mailbox(user) {
            live.owes = true;
        }
        self.look_at_pushes(user, again_ms);
    }

    pub(super) fn live_mailbox(&mut self, user: &Arc<str>) -> Option<&mut LiveMailbox> {
        match self.mailboxes.get_mut(user) {
            Some(MailboxSlot::Ready(live)) => Some(live),
            _ => None,
        }
    }
}

/// The message that a push of this conversation would be about, and the devices that get it.
///
/// What became of a push is stored before the push position is: a message whose push stands there
/// as settled is not pushed again after a restart.
fn due(mailbox: &Mailbox, conversation: &Key, now_ms: u64) -> Option<(Place, Vec<String>)> {
    let entry = mailbox.list.get(conversation)?;
    let waiting = mailbox.pushes.get(conversation)?;
    let settings = mailbox.user.as_ref().and_then(|user| user.push);
    let place = policy::subject(entry, waiting, &settings.unwrap_or_default(), now_ms).ok()?;
    if mailbox.notices.outcome(&push_id(mailbox, place)).is_some() {
        return None;
    }
    let devices = policy::devices_due(&mailbox.devices, place, now_ms);
    (!devices.is_empty()).then_some((place, devices))
}

/// The id of the push about one message, in this life of the server and in the next.
fn push_id(mailbox: &Mailbox, place: Place) -> String {
    format!("{}/{}", mailbox.id, place.position)
}

/// What all intents have.
pub(super) fn intent(
    mailbox: &Mailbox,
    kind: PushKind,
    conversation: &Key,
    devices: &[String],
    now_ms: u64,
) -> PushIntent {
    let entry = mailbox.list.get(conversation);
    let entry = entry.filter(|_| *conversation != NO_CONVERSATION);
    PushIntent {
        kind: kind as i32,
        user_id: mailbox.user_id.clone(),
        devices: devices.iter().map(|id| device(mailbox, id)).collect(),
        conversation_id: conversation.to_vec().into(),
        count: entry.map_or(0, |entry| {
            u32::try_from(list::unread(entry)).unwrap_or(u32::MAX)
        }),
        mentioned: entry.is_some_and(|entry| !entry.mention_seqs.is_empty()),
        badge: mailbox.list.badge(now_ms),
        ..Default::default()
    }
}

fn device(mailbox: &Mailbox, device_id: &str) -> PushDevice {
    let row = mailbox.devices.get(device_id).map(|device| &device.row);
    let settings = row.and_then(|row| row.push.clone()).unwrap_or_default();
    PushDevice {
        device_id: device_id.to_owned(),
        preview: settings.preview() != PushPreview::Hidden,
        sound: settings.sound,
        registrations: row.map_or_else(Vec::new, |row| row.push_registrations.clone()),
    }
}
