//! What becomes of an intent, and what a push lets nobody see.

use super::*;

fn device(id: &str, registrations: &[&str]) -> PushDevice {
    let registration = |id: &&str| PushRegistration {
        device_id: "phone".into(),
        registration_id: (*id).into(),
        ..Default::default()
    };
    PushDevice {
        device_id: id.into(),
        preview: true,
        sound: String::new(),
        registrations: registrations.iter().map(registration).collect(),
    }
}

fn intent() -> PushIntent {
    PushIntent {
        push_id: "p".into(),
        user_id: "ann".into(),
        devices: vec![device("phone", &[]), device("tablet", &[])],
        conversation_id: LogId::direct("ann", "bob").to_bytes(),
        kind: PushKind::Message.into(),
        title: "the title".into(),
        sender_name: "the sender".into(),
        preview: "the preview".into(),
        ..PushIntent::default()
    }
}

#[test]
fn each_device_has_its_push() {
    let pushes = Push::all_of(intent()).unwrap();
    let devices: Vec<_> = pushes.iter().map(|push| &*push.device_id).collect();
    assert_eq!(devices, ["phone", "tablet"]);
}

#[test]
fn each_registration_has_its_push() {
    let mut intent = intent();
    intent.devices[0] = device("phone", &["a", "b"]);
    let pushes = Push::all_of(intent).unwrap();
    let told: Vec<_> = pushes
        .iter()
        .map(|it| (&*it.device_id, it.registration_id()))
        .collect();
    assert_eq!(told, [("phone", "a"), ("phone", "b"), ("tablet", "")]);
}

#[test]
fn a_preview_and_a_sound_are_each_device_s_own() {
    let mut intent = intent();
    intent.devices[0].preview = false;
    intent.devices[0].sound = "bell".into();
    intent.devices[1].sound = "x".repeat(SOUND_BYTES_MAX + 1);
    let pushes = Push::all_of(intent.clone()).unwrap();
    let told: Vec<_> = pushes
        .iter()
        .map(|it| (it.preview.as_deref(), &*it.sound))
        .collect();
    assert_eq!(told, [(None, "bell"), (Some("the preview"), "")]);
    for kind in [PushKind::Clear, PushKind::Badge, PushKind::Test] {
        intent.kind = kind.into();
        let pushes = Push::all_of(intent.clone()).unwrap();
        assert!(pushes.iter().all(|it| it.preview.is_none()), "{kind:?}");
    }
    intent.kind = PushKind::Message.into();
    intent.preview.clear();
    let pushes = Push::all_of(intent).unwrap();
    assert!(pushes.iter().all(|it| it.preview.is_none()));
}

#[test]
fn long_texts_are_cut_and_refuse_nothing() {
    let mut intent = intent();
    intent.title = "t".repeat(5_000);
    intent.sender_name = "s".repeat(5_000);
    intent.preview = "p".repeat(5_000);
    let push = Push::all_of(intent).unwrap().remove(0);
    let preview = push.preview.as_deref().unwrap();
    let chars = [&*push.title, &*push.sender_name, preview].map(|text| text.chars().count());
    assert_eq!(
        chars,
        [TITLE_CHARS_MAX, SENDER_CHARS_MAX, PREVIEW_CHARS_MAX]
    );
    let result = push.result("x", PushOutcome::Delivered, &"d".repeat(5_000), 1);
    assert_eq!(result.detail.chars().count(), DETAIL_CHARS_MAX);
}

#[test]
fn neither_a_log_line_nor_a_debug_text_holds_a_text_of_people() {
    let push = Push::all_of(intent()).unwrap().remove(0);
    let line = serde_json::to_string(&push).unwrap();
    for shown in [line.clone(), format!("{push:?}")] {
        let hidden = ["the title", "the sender", "the preview"];
        assert!(!hidden.iter().any(|text| shown.contains(text)), "{shown}");
    }
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["kind"], &line["has_preview"]),
        (&"message".into(), &true.into())
    );
}

#[test]
fn a_badge_has_no_conversation() {
    let mut intent = intent();
    intent.kind = PushKind::Badge.into();
    intent.conversation_id = vec![0; 16].into();
    let push = Push::all_of(intent).unwrap().remove(0);
    assert_eq!(push.conversation_id.as_bytes(), &[0; 16]);
}

#[test]
fn an_invalid_intent_names_its_field() {
    let wrong = |change: fn(&mut PushIntent)| {
        let mut intent = intent();
        change(&mut intent);
        Push::all_of(intent).unwrap_err().field
    };
    assert_eq!(wrong(|intent| intent.push_id.clear()), "push_id");
    assert_eq!(wrong(|intent| intent.user_id = "x".repeat(129)), "user_id");
    assert_eq!(wrong(|intent| intent.kind = 0), "kind");
    assert_eq!(wrong(|intent| intent.kind = 99), "kind");
    assert_eq!(
        wrong(|intent| intent.conversation_id.clear()),
        "conversation_id"
    );
    assert_eq!(
        wrong(|intent| intent.devices.push(device("", &[]))),
        "devices"
    );
    assert_eq!(
        wrong(|intent| intent.devices = vec![device("x", &[]); DEVICES_MAX + 1]),
        "devices"
    );
    assert_eq!(
        wrong(|intent| intent.devices = vec![device("x", &["r"; 100]); 81]),
        "devices"
    );
}
