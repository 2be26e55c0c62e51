//! What is said to Firebase, and what its answers mean.

use super::*;
use crate::provider::tests::{answer, push};

#[test]
fn all_data_is_strings_and_pushes_collapse_by_conversation() {
    let push = push(None);
    let message = &body(&push, "token")["message"];
    let data = message["data"].as_object().unwrap();
    assert!(data.values().all(Value::is_string), "{data:?}");
    let conversation = push.conversation_id.to_string();
    assert_eq!(message["android"]["collapse_key"], conversation.as_str());
    assert_eq!(
        message["android"]["notification"]["tag"],
        conversation.as_str()
    );
    assert_eq!(message["android"]["notification"]["notification_count"], 3);
    assert_eq!(message["token"], "token");
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
