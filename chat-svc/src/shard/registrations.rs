//! Registrations for pushes: kept, taken back, and removed once their provider disowns them.
//!
//! `mailbox_commands` and `pushes` call it; `mailbox::registrations` decides.

use super::{Shard, mailboxes::MailboxSlot};
use crate::{
    cells,
    mailbox::registrations::{REGISTRATIONS_MAX, Refused, register, remove},
};
use heddle_proto::{
    errors::Fault,
    internal::{UnregisterPushCommand, command_result::Outcome as Answer},
    time,
    v1::{PushOutcome, PushRegistration, PushResult},
};
use std::sync::Arc;

impl Shard {
    pub(super) fn register_push(
        &mut self,
        user: &Arc<str>,
        mut registration: PushRegistration,
    ) -> Result<Answer, Fault> {
        registration.create_time = Some(time::timestamp(self.now_ms()));
        let Some(live) = self.live_mailbox(user) else {
            return Err(super::owner_changing());
        };
        let changed = register(&mut live.mailbox.devices, registration);
        let changed = changed.map_err(|refused| match refused {
            Refused::NoDevice => Fault::not_found("device"),
            Refused::Full => {
                let text = format!("a device has at most {REGISTRATIONS_MAX}; unregister one");
                Fault::field("registration", text)
            }
        })?;
        for device_id in changed {
            self.store_device(user, &device_id);
        }
        Ok(Answer::Done(Default::default()))
    }

    pub(super) fn unregister_push(
        &mut self,
        user: &Arc<str>,
        ask: &UnregisterPushCommand,
    ) -> Result<Answer, Fault> {
        self.remove_registration(user, &ask.device_id, &ask.registration_id);
        Ok(Answer::Done(Default::default()))
    }

    /// Providers do not know some of these any more. If the rows get lost with this owner, the next
    /// push finds them dead again.
    pub(super) fn disowned(&mut self, user: &Arc<str>, results: &[PushResult]) {
        let dead = |result: &&PushResult| result.outcome() == PushOutcome::TokenDead;
        for dead in results.iter().filter(dead) {
            self.remove_registration(user, &dead.device_id, &dead.registration_id);
        }
    }

    fn remove_registration(&mut self, user: &Arc<str>, device_id: &str, registration_id: &str) {
        let device = self
            .live_mailbox(user)
            .and_then(|live| live.mailbox.devices.get_mut(device_id));
        if device.is_some_and(|device| remove(device, registration_id)) {
            self.store_device(user, device_id);
        }
    }

    pub(super) fn store_device(&mut self, user: &Arc<str>, device_id: &str) {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
            return;
        };
        if let Some(device) = live.mailbox.devices.get(device_id) {
            let row = cells::device(user, device_id, &device.row);
            self.batch.cells([row]);
        }
    }
}
