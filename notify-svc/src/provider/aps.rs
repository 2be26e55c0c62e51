//! Aps: what iOS reads of a push, over Apple's service or through Firebase. Pure.
//!
//! `apns` and `fcm` put it into their payloads. Invariant: what takes away or sets a badge has no
//! alert, so that nothing is shown.

use heddle_proto::internal::PushKind;
use serde_json::{Value, json};

use crate::payload::{self, Words};
use crate::push::Push;

/// The priority: what shows nothing new may wait until the device is awake.
pub fn priority(push: &Push) -> &'static str {
    match payload::is_urgent(push) {
        true => "10",
        false => "5",
    }
}

/// The `aps` dictionary. `alert`: it says the words itself, since nothing beside it does.
///
/// A clear is no background push: iOS throttles those, and the badge would stay. With a badge and
/// `content-available` the badge goes down at once, and the app, when it is woken, takes away what
/// it shows of the conversation.
pub fn aps(push: &Push, words: &Words, alert: bool) -> Value {
    if !payload::is_shown(push) {
        return json!({ "badge": push.badge, "content-available": 1 });
    }
    let mut aps = json!({
        "thread-id": payload::collapse_key(push),
        // Wakes the app's notification extension, which may fetch the messages.
        "mutable-content": 1,
    });
    if alert {
        aps["alert"] = self::alert(push, words);
    }
    // A test says nothing of what waits.
    if push.kind != PushKind::Test {
        aps["badge"] = push.badge.into();
    }
    match (push.kind, &*push.sound) {
        (PushKind::Update, _) => aps["interruption-level"] = "passive".into(),
        (_, "") => aps["sound"] = "default".into(),
        (_, sound) => aps["sound"] = sound.into(),
    }
    aps
}

fn alert(push: &Push, words: &Words) -> Value {
    let mut alert = match words.body() {
        Some(body) => json!({ "body": body }),
        None => json!({
            "loc-key": payload::text_key(push),
            "loc-args": [push.count.to_string()],
        }),
    };
    if let Some(title) = words.title() {
        alert["title"] = title.into();
    }
    alert
}
