//! The push policy, pure: which devices should hear of what waits in a mailbox (P9).
//!
//! [`super::Mailbox`] notes others' messages here; the shard asks once the grace time is over,
//! passes the intents to notify-svc, and says when they are settled.
//!
//! Invariant: the push position is below every message that is not yet settled, so a crash re-sends
//! at worst; pushes collapse per conversation.

use heddle_proto::internal::{DeviceCursorRow, DeviceRow, Pointer};
use std::collections::{BTreeMap, HashMap};

/// How long a device may take to acknowledge before it is pushed to, by default, in milliseconds.
pub const PUSH_GRACE_MS: u64 = 5_000;

/// A device of the mailbox's user.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// As stored.
    pub row: DeviceRow,
    /// How far it has acknowledged.
    pub cursor: DeviceCursorRow,
    /// Conversations have been told what it has, since the mailbox was loaded or since it came
    /// back with more than it had acknowledged.
    pub reported: bool,
    /// Entries above this position may be acknowledged by a resume token alone, so that their
    /// conversations were not told.
    pub unsaid_from: Option<u64>,
}

/// Messages of one conversation that may need a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Position of the first of them.
    pub first_position: u64,
    /// Position of the newest.
    pub last_position: u64,
    /// seq of the newest.
    pub last_seq: u64,
    /// How many.
    pub count: u32,
    /// The newest mentions the user.
    pub mentioned: bool,
    /// When the first came, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The intent that is on its way; 0: none.
    pub intent: u64,
}

impl Device {
    /// It was revoked and has had no session since.
    pub fn is_revoked(&self) -> bool {
        self.row.revoked_time_ms > self.row.last_seen_time_ms
    }

    /// A resume token says that the device has everything up to `position`: it acknowledges, even
    /// if those of the session before got lost with its connection. Whether it was news.
    pub fn resumed_at(&mut self, position: u64) -> bool {
        let acknowledged = self.cursor.position;
        if position <= acknowledged {
            return false;
        }
        if std::mem::take(&mut self.reported) {
            self.unsaid_from = None;
        }
        self.unsaid_from.get_or_insert(acknowledged);
        self.cursor.position = position;
        true
    }
}

/// What waits, by conversation.
#[derive(Debug, Default)]
pub struct Pushes {
    waiting: BTreeMap<[u8; 16], Waiting>,
    /// Messages that came while an intent of their conversation was on its way.
    next: BTreeMap<[u8; 16], Waiting>,
}

impl Pushes {
    /// Notes another's message.
    pub fn note(&mut self, conversation: [u8; 16], position: u64, pointer: &Pointer, now_ms: u64) {
        let busy = self
            .waiting
            .get(&conversation)
            .is_some_and(|waiting| waiting.intent > 0);
        let map = if busy {
            &mut self.next
        } else {
            &mut self.waiting
        };
        let waiting = map.entry(conversation).or_insert(Waiting {
            first_position: position,
            last_position: 0,
            last_seq: 0,
            count: 0,
            mentioned: false,
            since_ms: now_ms,
            intent: 0,
        });
        waiting.last_position = position;
        waiting.last_seq = pointer.seq;
        waiting.count += 1;
        waiting.mentioned = pointer.mentioned;
    }

    /// Conversations whose grace time is over and that have no intent on its way.
    pub fn due(&self, now_ms: u64, grace_ms: u64) -> Vec<([u8; 16], Waiting)> {
        let over = |waiting: &Waiting| waiting.since_ms + grace_ms <= now_ms && waiting.intent == 0;
        let due = self.waiting.iter().filter(|(_, waiting)| over(waiting));
        due.map(|(conversation, waiting)| (*conversation, waiting.clone()))
            .collect()
    }

    /// An intent is on its way.
    pub fn sent(&mut self, conversation: &[u8; 16], intent: u64) {
        if let Some(waiting) = self.waiting.get_mut(conversation) {
            waiting.intent = intent;
        }
    }

    /// Nothing more is to be done for a conversation's messages so far.
    pub fn settle(&mut self, conversation: &[u8; 16]) {
        self.waiting.remove(conversation);
        if let Some(next) = self.next.remove(conversation) {
            self.waiting.insert(*conversation, next);
        }
    }

    /// An intent was not settled, or its link broke: it is due again.
    pub fn again(&mut self, conversation: &[u8; 16]) {
        if let Some(waiting) = self.waiting.get_mut(conversation) {
            waiting.intent = 0;
        }
    }

    /// Up to where pushes are settled, given the mailbox's head.
    pub fn position(&self, head: u64) -> u64 {
        let open = self.waiting.values().chain(self.next.values());
        open.map(|waiting| waiting.first_position - 1)
            .min()
            .unwrap_or(head)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The devices that should hear of `waiting`: those that have not acknowledged it, unless another
/// one did while in the foreground.
pub fn devices_due<'a>(devices: &'a HashMap<String, Device>, waiting: &Waiting) -> Vec<&'a str> {
    let seen_by_user = devices
        .values()
        .any(|device| device.cursor.foreground_position >= waiting.last_position);
    if seen_by_user {
        return Vec::new();
    }
    let due =
        |device: &Device| !device.is_revoked() && device.cursor.position < waiting.last_position;
    let mut due: Vec<_> = devices
        .iter()
        .filter(|(_, device)| due(device))
        .map(|(id, _)| id.as_str())
        .collect();
    due.sort_unstable();
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(position: u64, foreground_position: u64) -> Device {
        let cursor = DeviceCursorRow {
            position,
            foreground_position,
            time_ms: 0,
        };
        Device {
            cursor,
            ..Default::default()
        }
    }

    fn due(devices: &[(&str, Device)], position: u64) -> Vec<String> {
        let devices: HashMap<_, _> = devices
            .iter()
            .map(|(id, device)| (id.to_string(), device.clone()))
            .collect();
        let mut pushes = Pushes::default();
        pushes.note([1; 16], position, &Pointer::default(), 0);
        let (_, waiting) = pushes.due(5_000, 5_000).remove(0);
        devices_due(&devices, &waiting)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn who_gets_a_push() {
        let table = [
            (
                "never connected",
                vec![("phone", device(0, 0))],
                vec!["phone"],
            ),
            ("acknowledged itself", vec![("phone", device(9, 0))], vec![]),
            ("behind", vec![("phone", device(8, 8))], vec!["phone"]),
            (
                "a laptop left open in the background never silences a phone",
                vec![("laptop", device(9, 0)), ("phone", device(3, 3))],
                vec!["phone"],
            ),
            (
                "read in the foreground elsewhere",
                vec![("laptop", device(9, 9)), ("phone", device(3, 3))],
                vec![],
            ),
        ];
        for (name, devices, expected) in table {
            assert_eq!(due(&devices, 9), expected, "{name}");
        }
    }

    #[test]
    fn a_revoked_device_gets_none() {
        let mut phone = device(0, 0);
        phone.row.revoked_time_ms = 1;
        assert!(due(&[("phone", phone)], 9).is_empty());
    }

    #[test]
    fn the_position_stays_below_what_is_not_settled() {
        let mut pushes = Pushes::default();
        pushes.note([1; 16], 5, &Pointer::default(), 0);
        pushes.sent(&[1; 16], 77);
        pushes.note([1; 16], 8, &Pointer::default(), 0);
        assert_eq!(pushes.position(9), 4);
        pushes.settle(&[1; 16]);
        assert_eq!(pushes.position(9), 7);
        pushes.settle(&[1; 16]);
        assert_eq!(pushes.position(9), 9);
    }
}
