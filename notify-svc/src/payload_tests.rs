//! What payloads say, and what the tests of providers share to try their limits.

use super::*;
use crate::provider::tests::{of_kind, push, with_preview};
use crate::push::{PREVIEW_CHARS_MAX, SENDER_CHARS_MAX, SOUND_BYTES_MAX, TITLE_CHARS_MAX};
use crate::text::cut_chars;
use crate::text::tests::{HARD, hard_text, is_cut_of};
use heddle_proto::ids::{LogId, NAME_BYTES_MAX};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::sync::Arc;

const KINDS: [PushKind; 5] = [
    PushKind::Message,
    PushKind::Update,
    PushKind::Clear,
    PushKind::Badge,
    PushKind::Test,
];

/// The longest that a shard may send, made of what JSON must write with six bytes each; `texts`
/// stand where people's do.
fn largest(texts: [String; 3]) -> Push {
    let name = "\u{1}".repeat(NAME_BYTES_MAX);
    let [title, sender, preview] = texts;
    let preview = Arc::from(cut_chars(&preview, PREVIEW_CHARS_MAX));
    Push {
        kind: PushKind::Message,
        push_id: name.as_str().into(),
        user_id: name.as_str().into(),
        device_id: name.as_str().into(),
        conversation_id: LogId::direct("ann", "bob"),
        seq: u64::MAX,
        position: u64::MAX,
        count: u32::MAX,
        badge: u64::MAX,
        mentioned: true,
        sound: "\u{1}".repeat(SOUND_BYTES_MAX).into(),
        title: cut_chars(&title, TITLE_CHARS_MAX).into(),
        sender_name: cut_chars(&sender, SENDER_CHARS_MAX).into(),
        preview: Some(preview).filter(|text: &Arc<str>| !text.is_empty()),
        leave_by: None,
        registration: None,
    }
}

/// Pushes of every kind up to every bound, with what is hard to cut.
pub fn any_push() -> impl Strategy<Value = Push> {
    let long = prop::sample::select(HARD.to_vec()).prop_map(|part| part.repeat(1_000));
    let text = || prop_oneof![hard_text(30), hard_text(600), long.clone()];
    let texts = [text(), text(), text()];
    let short_names = any::<bool>();
    let direct = any::<bool>();
    (
        prop::sample::select(KINDS.to_vec()),
        texts,
        short_names,
        direct,
    )
        .prop_map(|(kind, texts, short_names, direct)| {
            let mut push = Push {
                kind,
                ..largest(texts)
            };
            if short_names {
                push.push_id = "p".into();
                push.user_id = "ann".into();
                push.sound = "".into();
            }
            if direct {
                push.title = push.sender_name.clone();
            }
            push
        })
}

/// Whether a payload's words are those of the push or cut at the border of a letter.
pub fn is_well_cut(
    push: &Push,
    title: Option<&str>,
    body: Option<&str>,
) -> Result<(), TestCaseError> {
    let words = Words::of(push);
    if let Some(title) = title {
        prop_assert!(is_cut_of(title, &words.title), "{title:?} of {words:?}");
    }
    if let Some(body) = body {
        let said = match &*words.sender {
            "" => Some(body),
            sender => body.strip_prefix(&format!("{sender}: ")),
        };
        let said = said.unwrap_or("");
        prop_assert!(
            !said.is_empty() && is_cut_of(said, &words.preview),
            "{body:?} of {words:?}"
        );
    }
    Ok(())
}

#[test]
fn nothing_is_cut_that_fits() {
    let push = with_preview("Hiking", "see you at eight");
    let said = |bytes_max| -> Value {
        let body = |words: &Words| Value::Object(worded(&push, words));
        serde_json::from_str(&fitted(&push, bytes_max, body)).unwrap()
    };
    let whole = said(10_000);
    let length = whole.to_string().len();
    assert_eq!(said(length), whole);
    assert_eq!(said(length - 1)["body"], "Bob: see you at e\u{2026}");
    assert_eq!(said(length - 16)["title"], "Hiking");
}

#[test]
fn what_is_cut_to_nothing_is_said_by_its_key() {
    let push = with_preview("Hiking", "see you at eight");
    let body = |words: &Words| Value::Object(worded(&push, words));
    let without = Words {
        preview: String::new(),
        ..Words::of(&push)
    };
    let length = body(&without).to_string().len();
    let said: Value = serde_json::from_str(&fitted(&push, length, body)).unwrap();
    assert!(said.get("body").is_none());
    assert_eq!(
        (&said["title"], &said["text_key"]),
        (&"Hiking".into(), &"HEDDLE_MESSAGES".into())
    );
}

#[test]
fn a_group_says_who_said_it_and_a_direct_conversation_has_it_in_the_title() {
    let words = |push: &Push| {
        let words = Words::of(push);
        (words.title().map(str::to_owned), words.body())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        words(&with_preview("Hiking", "hi")),
        (some("Hiking"), some("Bob: hi"))
    );
    assert_eq!(words(&with_preview("Bob", "hi")), (some("Bob"), some("hi")));
    assert_eq!(words(&with_preview("", "hi")), (some("Bob"), some("hi")));
    assert_eq!(words(&push(None)), (some("Bob"), None));
    assert_eq!(words(&of_kind(PushKind::Test)), (some("Heddle"), None));
    assert_eq!(words(&of_kind(PushKind::Clear)), (None, None));
    assert_eq!(words(&of_kind(PushKind::Badge)), (None, None));
}

#[test]
fn each_kind_has_its_action_and_its_collapse_key() {
    let conversation = push(None).conversation_id.to_string();
    let told: Vec<_> = KINDS
        .map(|kind| {
            let push = of_kind(kind);
            (
                fields(&push)["action"].as_str().unwrap().to_owned(),
                collapse_key(&push),
            )
        })
        .into();
    let expected = [
        ("message", &*conversation),
        ("update", &*conversation),
        ("clear", &*conversation),
        ("badge", "badge"),
        ("test", "test"),
    ];
    let expected = expected.map(|(action, key)| (action.to_owned(), key.to_owned()));
    assert_eq!(told, expected);
}

#[test]
fn a_repetition_has_the_same_id_and_another_push_has_not() {
    let (one, mut other) = (push(None), push(None));
    assert_eq!(id(&one), id(&other));
    other.device_id = "tablet".into();
    assert_ne!(id(&one), id(&other));
}

#[test]
fn the_text_says_what_waits() {
    let mut push = push(None);
    assert_eq!(text_key(&push), "HEDDLE_MESSAGES");
    push.count = 1;
    assert_eq!(text_key(&push), "HEDDLE_MESSAGE");
    push.mentioned = true;
    assert_eq!(text_key(&push), "HEDDLE_MENTIONED");
    push.kind = PushKind::Test;
    assert_eq!(text_key(&push), "HEDDLE_TEST");
}

#[test]
fn who_tests_is_told_what_is_sent() {
    let mut test = of_kind(PushKind::Test);
    let sent = "sent title \"Heddle\" and text HEDDLE_TEST";
    assert_eq!(told(&test), format!("{sent}; sound: the platform's own"));
    test.sound = "chime.caf".into();
    assert_eq!(told(&test), format!("{sent}; sound: chime.caf"));
}
