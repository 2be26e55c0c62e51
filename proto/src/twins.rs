//! Holds the opaque twins of `edge.proto` to the public messages they stand for.

use crate::{ALL_DESCRIPTORS, internal, v1};
use bytes::Bytes;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;

fn messages() -> BTreeMap<String, DescriptorProto> {
    let files = FileDescriptorSet::decode(ALL_DESCRIPTORS).unwrap().file;
    let named = files.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.message_type
            .into_iter()
            .map(move |m| (format!("{package}.{}", m.name()), m))
    });
    named.collect()
}

#[test]
fn every_twin_has_the_tags_of_its_original() {
    let messages = messages();
    let mut seen = 0;
    for (name, twin) in &messages {
        let Some(short) = name.strip_prefix("heddle.internal.v1.Raw") else {
            continue;
        };
        let original = &messages[&format!("heddle.v1.{short}")];
        let tags = |m: &DescriptorProto| -> BTreeMap<i32, String> {
            m.field
                .iter()
                .map(|f| (f.number(), f.name().to_owned()))
                .collect()
        };
        assert_eq!(tags(twin), tags(original), "{name}");
        seen += 1;
    }
    assert_eq!(
        seen, 10,
        "a twin was added or lost: see RAW_TWINS in build.rs"
    );
}

#[test]
fn an_event_written_raw_reads_as_the_public_one() {
    let content = Some(v1::message::Content::Text("hello".into()));
    let message = v1::Message {
        content,
        ..Default::default()
    };
    let raw = internal::RawEvent {
        seq: 7,
        kind: Some(internal::raw_event::Kind::Message(Bytes::from(
            message.encode_to_vec(),
        ))),
        ..Default::default()
    };
    let event = v1::Event::decode(raw.encode_to_vec().as_slice()).unwrap();
    assert_eq!(event.seq, 7);
    assert_eq!(event.kind, Some(v1::event::Kind::Message(message)));
}
