//! Who gets a push: each combination of state that matters, by name (P9).

use super::*;
use heddle_proto::{
    internal::DeviceCursorRow,
    v1::{DevicePushSettings, QuietHours},
};

const NOW_MS: u64 = 1_000_000;
/// The newest message, and one before it.
const LAST: Place = Place {
    position: 9,
    seq: 7,
};
const MENTION: Place = Place {
    position: 6,
    seq: 5,
};

/// A conversation with four unread messages, 4 to 7.
fn entry() -> ListEntry {
    ListEntry {
        last_seq: 7,
        last_ordinal: 7,
        read_seq: 3,
        read_ordinal: 3,
        since_seq: 1,
        ..Default::default()
    }
}

fn waiting(mention: Option<Place>) -> Waiting {
    Waiting {
        first_position: 5,
        last: LAST,
        mention,
        ..Default::default()
    }
}

fn user(level: PushLevel) -> UserPushSettings {
    UserPushSettings {
        level: level as i32,
        muted_until_time: None,
    }
}

fn muted(until_ms: u64) -> UserPushSettings {
    UserPushSettings {
        muted_until_time: Some(time::timestamp(until_ms)),
        ..user(PushLevel::Unspecified)
    }
}

fn at_level(level: PushLevel) -> ListEntry {
    let mut entry = entry();
    entry.set_push_level(level);
    entry.mention_seqs = vec![MENTION.seq];
    entry
}

type Conversation = (
    &'static str,
    ListEntry,
    Option<Place>,
    UserPushSettings,
    Result<Place, Why>,
);

/// Whether the conversation is worth a push, whichever device asks.
fn standings() -> Vec<Conversation> {
    let own = user(PushLevel::Unspecified);
    let changed = |change: fn(&mut ListEntry)| {
        let mut entry = entry();
        change(&mut entry);
        entry
    };
    vec![
        ("nothing is set: all", entry(), None, own, Ok(LAST)),
        (
            "the user has left",
            changed(|it| it.until_seq = 8),
            None,
            own,
            Err(Why::Left),
        ),
        (
            "read up to the newest",
            changed(|it| it.read_seq = 7),
            None,
            own,
            Err(Why::Read),
        ),
        (
            "read all but the newest",
            changed(|it| it.read_seq = 6),
            None,
            own,
            Ok(LAST),
        ),
        (
            "all that was unread is erased",
            changed(|it| it.uncounted_seqs = vec![4, 5, 6, 7]),
            None,
            own,
            Err(Why::NothingUnread),
        ),
        (
            "muted until later",
            changed(|it| it.muted_until_ms = NOW_MS + 1),
            Some(MENTION),
            own,
            Err(Why::Muted),
        ),
        (
            "muted until now",
            changed(|it| it.muted_until_ms = NOW_MS),
            None,
            own,
            Ok(LAST),
        ),
        (
            "everything is muted until later",
            entry(),
            Some(MENTION),
            muted(NOW_MS + 1),
            Err(Why::Muted),
        ),
        (
            "everything was muted until now",
            entry(),
            None,
            muted(NOW_MS),
            Ok(LAST),
        ),
    ]
}

/// The same by what the user wants.
fn levels() -> Vec<Conversation> {
    use PushLevel::{Mentions, Nothing, Unspecified};
    let own = user(Unspecified);
    let direct = |level| ListEntry {
        direct: true,
        mention_seqs: Vec::new(),
        ..at_level(level)
    };
    vec![
        (
            "mentions only, and none",
            at_level(Mentions),
            None,
            own,
            Err(Why::NoMention),
        ),
        (
            "mentions only, and one",
            at_level(Mentions),
            Some(MENTION),
            own,
            Ok(MENTION),
        ),
        (
            "mentions only, and that one is read",
            ListEntry {
                read_seq: 5,
                ..at_level(Mentions)
            },
            Some(MENTION),
            own,
            Err(Why::Read),
        ),
        (
            "mentions only, and that one is erased",
            ListEntry {
                mention_seqs: Vec::new(),
                ..at_level(Mentions)
            },
            Some(MENTION),
            own,
            Err(Why::NothingUnread),
        ),
        (
            "a direct message breaks through mentions only",
            direct(Mentions),
            None,
            own,
            Ok(LAST),
        ),
        (
            "nothing, not even a mention",
            at_level(Nothing),
            Some(MENTION),
            own,
            Err(Why::Nothing),
        ),
        (
            "nothing, not even a direct message",
            direct(Nothing),
            None,
            own,
            Err(Why::Nothing),
        ),
    ]
}

/// The same by what the user wants everywhere.
fn levels_everywhere() -> Vec<Conversation> {
    use PushLevel::{All, Mentions, Nothing, Unspecified};
    vec![
        (
            "mentions only everywhere",
            at_level(Unspecified),
            None,
            user(Mentions),
            Err(Why::NoMention),
        ),
        (
            "mentions only everywhere, all of this one",
            at_level(All),
            None,
            user(Mentions),
            Ok(LAST),
        ),
        (
            "nothing everywhere, mentions of this one",
            at_level(Mentions),
            Some(MENTION),
            user(Nothing),
            Ok(MENTION),
        ),
        (
            "nothing everywhere",
            at_level(Unspecified),
            Some(MENTION),
            user(Nothing),
            Err(Why::Nothing),
        ),
    ]
}

#[test]
fn which_conversations_are_worth_a_push() {
    let all = [standings(), levels(), levels_everywhere()];
    let all = all.into_iter().flatten();
    for (name, entry, mention, user, expected) in all {
        let found = subject(&entry, &waiting(mention), &user, NOW_MS);
        assert_eq!(found, expected, "{name}");
    }
}

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

fn with_hours(device: Device, start_minute: u32, end_minute: u32) -> Device {
    let hours = QuietHours {
        time_zone: "UTC".into(),
        start_minute,
        end_minute,
    };
    let mut device = device;
    device.row.push = Some(DevicePushSettings {
        quiet_hours: Some(hours),
        ..Default::default()
    });
    device
}

#[test]
fn which_devices_get_it() {
    let mut revoked = device(0, 0);
    revoked.row.revoked_time_ms = 1;
    let mut back = device(0, 0);
    (back.row.revoked_time_ms, back.row.last_seen_time_ms) = (1, 2);
    // NOW_MS is a quarter past midnight in UTC.
    let asleep = with_hours(device(3, 3), 0, 60);
    let awake = with_hours(device(3, 3), 60, 120);
    let table = [
        (
            "never connected",
            vec![("phone", device(0, 0))],
            vec!["phone"],
        ),
        ("acknowledged itself", vec![("phone", device(9, 0))], vec![]),
        ("one behind", vec![("phone", device(8, 8))], vec!["phone"]),
        (
            "a laptop left open in the background never silences a phone",
            vec![("laptop", device(9, 8)), ("phone", device(3, 3))],
            vec!["phone"],
        ),
        (
            "seen in the foreground elsewhere",
            vec![("laptop", device(9, 9)), ("phone", device(3, 3))],
            vec![],
        ),
        (
            "seen in the foreground elsewhere, but not this message",
            vec![("laptop", device(8, 8)), ("phone", device(3, 3))],
            vec!["laptop", "phone"],
        ),
        ("revoked", vec![("phone", revoked)], vec![]),
        (
            "revoked, and back since",
            vec![("phone", back)],
            vec!["phone"],
        ),
        (
            "in its quiet hours",
            vec![("phone", asleep.clone())],
            vec![],
        ),
        (
            "outside its quiet hours",
            vec![("phone", awake)],
            vec!["phone"],
        ),
        (
            "one device's quiet hours are not the other's",
            vec![("phone", asleep), ("tablet", device(0, 0))],
            vec!["tablet"],
        ),
        ("none", vec![], vec![]),
    ];
    for (name, devices, expected) in table {
        let devices: HashMap<_, _> = devices
            .into_iter()
            .map(|(id, device)| (id.to_owned(), device))
            .collect();
        assert_eq!(devices_due(&devices, LAST, NOW_MS), expected, "{name}");
    }
}
