//! What is said to Apple, and what its answers mean.

use super::*;
use crate::payload::tests::{any_push, is_well_cut};
use crate::provider::tests::{answer, of_kind, push, with_preview};
use heddle_kit::{ManualClock, Tasks};
use heddle_proto::internal::PushKind;
use proptest::prelude::*;

fn said(push: &Push) -> Value {
    serde_json::from_str(&body(push)).unwrap()
}

#[test]
fn the_notification_has_badge_thread_and_the_fields_to_fetch_by() {
    let push = push(None);
    let body = said(&push);
    assert_eq!(body["aps"]["badge"], 3);
    assert_eq!(body["aps"]["alert"]["loc-key"], "HEDDLE_MESSAGES");
    assert_eq!(body["aps"]["alert"]["title"], "Bob");
    assert_eq!(body["aps"]["sound"], "default");
    let conversation = push.conversation_id.to_string();
    assert_eq!(body["aps"]["thread-id"], conversation.as_str());
    assert_eq!(body["heddle"]["position"], "9");
    // A collapse id has at most 64 bytes.
    assert!(conversation.len() <= 64);
}

#[test]
fn a_preview_is_shown_with_its_sender_and_sound() {
    let mut push = with_preview("Hiking", "see you at eight");
    push.sound = "bell.caf".into();
    let body = said(&push);
    let alert = json!({ "title": "Hiking", "body": "Bob: see you at eight" });
    assert_eq!(
        (&body["aps"]["alert"], &body["aps"]["sound"]),
        (&alert, &"bell.caf".into())
    );
}

#[test]
fn an_update_is_silent_and_a_clear_shows_nothing() {
    let update = said(&of_kind(PushKind::Update));
    assert_eq!(update["aps"]["interruption-level"], "passive");
    assert!(update["aps"].get("sound").is_none() && update["aps"]["alert"].is_object());
    for kind in [PushKind::Clear, PushKind::Badge] {
        let aps = &said(&of_kind(kind))["aps"];
        assert_eq!(
            aps,
            &json!({ "badge": 3, "content-available": 1 }),
            "{kind:?}"
        );
    }
    let test = said(&of_kind(PushKind::Test));
    let alert = json!({ "title": "Heddle", "loc-key": "HEDDLE_TEST", "loc-args": ["2"] });
    assert_eq!(test["aps"]["alert"], alert);
    assert!(test["aps"].get("badge").is_none());
}

#[test]
fn what_shows_nothing_new_may_wait_and_takes_the_place_of_what_does() {
    let dialer = crate::http::dial::Dialer::new(
        std::sync::Arc::new(crate::http::dial::SystemResolver),
        rustls::RootCertStore::empty(),
    );
    let client = Client::new(dialer, 1, Tasks::new("test"));
    let provider = ApnsProvider::new(ApnsConfig::default(), client, ManualClock::at(0));
    let header = |kind, name| {
        let headers = provider.headers(&of_kind(kind), "topic").unwrap();
        headers[name].to_str().unwrap().to_owned()
    };
    use PushKind::{Badge, Clear, Message, Test, Update};
    let kinds = [Message, Update, Clear, Badge, Test];
    let priorities = kinds.map(|kind| header(kind, "apns-priority"));
    assert_eq!(priorities, ["10", "5", "5", "5", "10"]);
    assert!(
        kinds
            .iter()
            .all(|kind| header(*kind, "apns-push-type") == "alert")
    );
    let key = |kind| header(kind, "apns-collapse-id");
    assert_eq!([key(Update), key(Clear)], [key(Message), key(Message)]);
    assert_eq!([key(Badge), key(Test)], ["badge", "test"]);
}

proptest! {
    #[test]
    fn whatever_a_shard_sends_fits(push in any_push()) {
        let body = body(&push);
        prop_assert!(body.len() <= PAYLOAD_BYTES_MAX, "{}", body.len());
        let alert = &said(&push)["aps"]["alert"];
        is_well_cut(&push, alert["title"].as_str(), alert["body"].as_str())?;
    }
}

#[test]
fn an_answer_that_echoes_the_message_is_not_repeated() {
    for status in [400, 403, 410, 429, 500] {
        let body = json!({ "reason": "see you at eight" }).to_string();
        let attempt = format!("{:?}", judge(&answer(status, &[], &body)));
        assert!(!attempt.contains("eight"), "{attempt}");
    }
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
