//! Tests of the bounds of a message: each on both sides.

use super::*;
use crate::config::LimitOptions;
use proptest::prelude::*;
use v1::Mention;

fn judge_bytes(bytes: &[u8]) -> Result<Mentions, Fault> {
    let limits = LimitOptions::default();
    Rules {
        limits: &limits,
        now_ms: 0,
    }
    .message(At("send"), bytes, false)
}

fn judge(message: v1::Message) -> Result<Mentions, Fault> {
    judge_bytes(&message.encode_to_vec())
}

fn text(text: impl Into<String>) -> v1::Message {
    v1::Message {
        content: Some(Content::Text(text.into())),
        ..Default::default()
    }
}

fn field(message: v1::Message) -> String {
    judge(message).unwrap_err().field
}

/// A text that is judged the slow way.
fn slow(mut message: v1::Message) -> v1::Message {
    message.metadata.insert("a".into(), "b".into());
    message
}

#[test]
fn a_text_is_counted_in_characters_and_in_bytes() {
    for weave in [|m| m, slow as fn(v1::Message) -> v1::Message] {
        for character in ["x", "\u{e9}", "\u{1f9f5}"] {
            assert!(judge(weave(text(character.repeat(100_000)))).is_ok());
            assert_eq!(
                field(weave(text(character.repeat(100_001)))),
                "send.message.text"
            );
        }
        assert_eq!(field(weave(text(""))), "send.message.text");
    }
}

#[test]
fn what_is_not_a_message_names_the_message() {
    assert_eq!(judge_bytes(b"").unwrap_err().field, "send.message");
    assert_eq!(judge_bytes(&[0xff; 40]).unwrap_err().field, "send.message");
    assert_eq!(
        judge_bytes(&[0x0a, 2, 0xff, 0xff]).unwrap_err().field,
        "send.message.text"
    );
    assert_eq!(
        field(v1::Message {
            reply_to_seq: 3,
            ..Default::default()
        }),
        "send.message"
    );
}

#[test]
fn beside_the_text_each_field_has_its_bound() {
    let with = |change: fn(&mut v1::Message, usize), n: usize| {
        let mut message = text("hello");
        change(&mut message, n);
        judge(message)
    };
    let fallback: fn(&mut v1::Message, usize) = |m, n| m.fallback_text = "\u{1f9f5}".repeat(n);
    let entries: fn(&mut v1::Message, usize) = |m, n| {
        m.metadata = (0..n).map(|i| (i.to_string(), String::new())).collect();
    };
    let value: fn(&mut v1::Message, usize) = |m, n| {
        m.metadata.insert("k".into(), "v".repeat(n));
    };
    let mentions: fn(&mut v1::Message, usize) = |m, n| {
        m.mentions = vec![
            Mention {
                user_id: "bob".into(),
                start: 0,
                length: 5
            };
            n
        ]
    };
    let name: fn(&mut v1::Message, usize) = |m, n| {
        m.mentions = vec![Mention {
            user_id: "b".repeat(n),
            start: 0,
            length: 1,
        }]
    };
    let span: fn(&mut v1::Message, usize) = |m, n| {
        m.mentions = vec![Mention {
            user_id: "bob".into(),
            start: 2,
            length: n as u32,
        }]
    };
    let reply: fn(&mut v1::Message, usize) = |m, n| m.reply_to_seq = n as u64;
    let cases = [
        (fallback, 1_000, "send.message.fallback_text"),
        (entries, 32, "send.message.metadata"),
        (value, 4_095, "send.message.metadata"),
        (mentions, 100, "send.message.mentions"),
        (name, 128, "send.message.mentions[0].user_id"),
        (span, 3, "send.message.mentions[0]"),
        (reply, (1 << 53) - 1, "send.message.reply_to_seq"),
    ];
    for (change, max, path) in cases {
        assert!(with(change, max).is_ok(), "{path} {max}");
        assert_eq!(with(change, max + 1).unwrap_err().field, path);
    }
}

#[test]
fn spans_count_characters_of_four_bytes_once() {
    let mut message = text("\u{1f9f5}\u{1f9f5} bob");
    message.mentions = vec![Mention {
        user_id: "bob".into(),
        start: 3,
        length: 3,
    }];
    assert_eq!(judge(message.clone()).unwrap().user_ids, ["bob"]);
    message.mentions[0].length = 4;
    assert!(judge(message).is_err());
}

#[test]
fn mentions_are_told_once_each_and_everybody_apart() {
    let mut message = text("@all @bob @bob");
    let mention = |user_id: &str| Mention {
        user_id: user_id.into(),
        start: 0,
        length: 1,
    };
    message.mentions = vec![mention(""), mention("bob"), mention("bob")];
    let expected = Mentions {
        user_ids: vec!["bob".into()],
        all: true,
    };
    assert_eq!(judge(message), Ok(expected));
}

#[test]
fn kinds_of_content_are_told_apart() {
    let with = |content| v1::Message {
        content: Some(content),
        ..Default::default()
    };
    let custom = |n: usize, payload: usize| {
        let (r#type, payload) = ("t".repeat(n), vec![0; payload].into());
        with(Content::Custom(v1::Custom { r#type, payload }))
    };
    assert!(judge(custom(128, 64 * 1024)).is_ok());
    assert_eq!(field(custom(129, 0)), "send.message.custom.type");
    assert_eq!(field(custom(0, 0)), "send.message.custom.type");
    assert_eq!(
        field(custom(1, 64 * 1024 + 1)),
        "send.message.custom.payload"
    );
    assert_eq!(
        field(with(Content::Erased(v1::Erased {}))),
        "send.message.erased"
    );
    assert_eq!(
        field(with(Content::System(v1::System::default()))),
        "send.message.system"
    );
    let media = judge(with(Content::Media(v1::Media::default()))).unwrap_err();
    assert_eq!(media.reason, ErrorReason::Unimplemented);
    let secret = judge(with(Content::Encrypted(v1::Encrypted::default()))).unwrap_err();
    assert_eq!(secret.field, "send.message.encrypted");
}

#[test]
fn fields_of_newer_clients_pass() {
    let mut bytes = text("hello").encode_to_vec();
    prost::encoding::string::encode(99, &"new".to_owned(), &mut bytes);
    assert!(judge_bytes(&bytes).is_ok());
}

proptest! {
    /// Whatever bytes come: what passes decodes, and nothing panics.
    #[test]
    fn what_passes_decodes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if judge_bytes(&bytes).is_ok() {
            prop_assert!(v1::Message::decode(bytes.as_slice()).is_ok());
        }
    }

    /// The fast way and the slow way agree.
    #[test]
    fn both_ways_agree(words in "[a-z\u{1f9f5} ]{0,20}", reply in 0u64..(1 << 54)) {
        let message = v1::Message { reply_to_seq: reply, ..text(words) };
        let fast = judge(message.clone()).map_err(|fault| fault.field);
        let slow = judge(slow(message)).map_err(|fault| fault.field);
        prop_assert_eq!(fast, slow);
    }
}
