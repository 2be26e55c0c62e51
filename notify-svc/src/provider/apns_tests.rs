//! What is said to Apple, and what its answers mean.

use super::*;
use crate::provider::tests::{answer, push};

#[test]
fn the_notification_has_badge_thread_and_the_fields_to_fetch_by() {
    let push = push(None);
    let body = body(&push);
    assert_eq!(body["aps"]["badge"], 3);
    assert_eq!(body["aps"]["alert"]["loc-key"], "HEDDLE_MESSAGES");
    let conversation = push.conversation_id.to_string();
    assert_eq!(body["aps"]["thread-id"], conversation.as_str());
    assert_eq!(body["heddle"]["position"], "9");
    // A collapse id has at most 64 bytes.
    assert!(conversation.len() <= 64);
}

#[test]
fn each_answer_of_apple_has_its_meaning() {
    let label = |status, reason: &str| {
        let body = json!({ "reason": reason }).to_string();
        judge(&answer(status, &[("retry-after", "7")], &body))
    };
    let table = [
        (200, "", "delivered"),
        (410, "Unregistered", "token_dead"),
        (410, "ExpiredToken", "token_dead"),
        (400, "BadDeviceToken", "token_dead"),
        (400, "DeviceTokenNotForTopic", "token_dead"),
        (400, "PayloadEmpty", "refused"),
        (403, "ExpiredProviderToken", "credentials_bad"),
        (403, "InvalidProviderToken", "credentials_bad"),
        (404, "BadPath", "refused"),
        (413, "PayloadTooLarge", "refused"),
        (429, "TooManyRequests", "retry_later"),
        (500, "InternalServerError", "retry_later"),
        (503, "Shutdown", "retry_later"),
        (302, "", "refused"),
    ];
    for (status, reason, expected) in table {
        assert_eq!(label(status, reason).label(), expected, "{status} {reason}");
    }
    let Attempt::RetryLater { after, .. } = label(429, "TooManyRequests") else {
        panic!("not later");
    };
    assert_eq!(after, Some(Duration::from_secs(7)));
}
