//! What is said to Firebase, and what its answers mean.

use super::*;
use crate::payload::tests::{any_push, is_well_cut};
use crate::provider::tests::{answer, of_kind, push, with_preview};
use proptest::prelude::*;

fn said(push: &Push) -> Value {
    let mut said: Value = serde_json::from_str(&body(push, "token")).unwrap();
    said["message"].take()
}

#[test]
fn all_data_is_strings_and_pushes_collapse_by_conversation() {
    let push = push(None);
    let message = said(&push);
    let data = message["data"].as_object().unwrap();
    assert!(data.values().all(Value::is_string), "{data:?}");
    let conversation = push.conversation_id.to_string();
    let android = &message["android"];
    assert_eq!(android["collapse_key"], conversation.as_str());
    assert_eq!(android["notification"]["tag"], conversation.as_str());
    assert_eq!(android["notification"]["notification_count"], 3);
    assert_eq!(android["notification"]["body_loc_key"], "HEDDLE_MESSAGES");
    assert_eq!(android["notification"]["title"], "Bob");
    assert_eq!(android["priority"], "HIGH");
    assert_eq!(
        message["apns"]["payload"]["aps"]["alert"]["loc-key"],
        "HEDDLE_MESSAGES"
    );
    assert_eq!(message["token"], "token");
}

#[test]
fn a_preview_stands_once_for_both_platforms() {
    let mut push = with_preview("Hiking", "see you at eight");
    push.sound = "bell".into();
    let message = said(&push);
    let shown = json!({ "title": "Hiking", "body": "Bob: see you at eight" });
    assert_eq!(message["notification"], shown);
    assert_eq!(message.to_string().matches("eight").count(), 1);
    assert!(
        message["android"]["notification"]
            .get("body_loc_key")
            .is_none()
    );
    assert!(message["apns"]["payload"]["aps"].get("alert").is_none());
    assert_eq!(message["android"]["notification"]["sound"], "bell");
    assert_eq!(message["apns"]["payload"]["aps"]["sound"], "bell");
}

#[test]
fn an_update_is_silent() {
    let message = said(&of_kind(PushKind::Update));
    let shown = &message["android"]["notification"];
    assert!(shown.get("sound").is_none() && shown.get("default_sound").is_none());
    assert_eq!(shown["channel_id"], SILENT_CHANNEL);
    assert_eq!(message["android"]["priority"], "NORMAL");
    assert_eq!(message["data"]["silent"], "true");
}

#[test]
fn a_clear_is_data_alone_and_sets_the_badge() {
    for (kind, action) in [(PushKind::Clear, "clear"), (PushKind::Badge, "badge")] {
        let message = said(&of_kind(kind));
        assert!(message.get("notification").is_none());
        assert!(message["android"].get("notification").is_none());
        assert_eq!(message["android"]["priority"], "NORMAL");
        assert_eq!(
            (&message["data"]["action"], &message["data"]["badge"]),
            (&action.into(), &"3".into())
        );
        let apns = &message["apns"];
        assert_eq!(
            apns["payload"]["aps"],
            json!({ "badge": 3, "content-available": 1 })
        );
        assert_eq!(apns["headers"]["apns-priority"], "5");
    }
}

#[test]
fn an_answer_that_echoes_the_message_is_not_repeated() {
    for status in [400, 403, 404, 429, 500] {
        let said = json!({ "error": {
            "message": "see you at eight",
            "status": "see you at eight",
            "details": [{ "errorCode": "see you at eight" }],
        } });
        let attempt = format!("{:?}", judge(&answer(status, &[], &said.to_string())));
        assert!(!attempt.contains("eight"), "{attempt}");
    }
}

proptest! {
    #[test]
    fn whatever_a_shard_sends_fits(push in any_push()) {
        // Without the token, which no limit of Firebase's counts.
        let body = body(&push, "");
        prop_assert!(body.len() <= PAYLOAD_BYTES_MAX, "{}", body.len());
        let said: Value = serde_json::from_str(&body).unwrap();
        let message = &said["message"];
        let shown = &message["notification"];
        is_well_cut(&push, shown["title"].as_str(), shown["body"].as_str())?;
        is_well_cut(&push, message["android"]["notification"]["title"].as_str(), None)?;
    }
}

#[test]
fn each_answer_of_firebase_has_its_meaning() {
    let table = [
        (200, "", "delivered"),
        (404, "UNREGISTERED", "token_dead"),
        (403, "SENDER_ID_MISMATCH", "token_dead"),
        (400, "INVALID_ARGUMENT", "refused"),
        (401, "THIRD_PARTY_AUTH_ERROR", "credentials_bad"),
        (403, "PERMISSION_DENIED", "credentials_bad"),
        (404, "", "refused"),
        (429, "QUOTA_EXCEEDED", "retry_later"),
        (500, "INTERNAL", "retry_later"),
        (503, "UNAVAILABLE", "retry_later"),
    ];
    for (status, code, expected) in table {
        let body = json!({ "error": { "details": [{ "errorCode": code }] } }).to_string();
        let attempt = judge(&answer(status, &[], &body));
        assert_eq!(attempt.label(), expected, "{status} {code}");
    }
}

#[test]
fn an_oauth_server_that_is_down_is_no_bad_account() {
    let meaning = |status| granted(&answer(status, &[], "{}")).err().unwrap().label();
    assert_eq!(meaning(503), "retry_later");
    assert_eq!(meaning(400), "credentials_bad");
}

#[test]
fn what_is_no_account_is_refused_without_its_content() {
    let file = json!({
        "client_email": "a", "project_id": "p", "token_uri": "t", "private_key": "secret",
    });
    let wrong = account(file.to_string().as_bytes()).err().unwrap();
    assert!(
        wrong.contains("private_key") && !wrong.contains("secret"),
        "{wrong}"
    );
    assert!(account(b"{}").is_err());
}
