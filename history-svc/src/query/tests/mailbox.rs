//! What a device gets out of its mailbox.

use super::*;

fn entry(position: u64, log_id: LogId, seq: u64) -> Bytes {
    let conversation_id = log_id.to_bytes();
    let previous_seq = seq - 1;
    let pointer = Pointer {
        conversation_id,
        seq,
        previous_seq,
        ..Pointer::default()
    };
    let body = Some(mailbox_entry::Body::Pointer(pointer));
    MailboxEntry {
        position,
        time_ms: 1,
        body,
        ..Default::default()
    }
    .encode_to_vec()
    .into()
}

fn mailbox(log_id: LogId, after_position: u64, head: u64) -> MailboxQuery {
    MailboxQuery {
        log_id: log_id.to_bytes(),
        after_position,
        head,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_mailbox_brings_bodies_with_overlays_and_nonces() {
    let bench = Bench::new().await;
    let first = |text| vec![conversation_event(1, event::Kind::Message(said(text)))];
    let erased = overlay_cell(log(2), overlay(1, 2, overlay_row::Kind::Erased(true)));
    let state = v1::StateChange::default().encode_to_vec();
    let state = MailboxEntry {
        position: 3,
        time_ms: 1,
        body: Some(mailbox_entry::Body::State(state.clone().into())),
        ..Default::default()
    };
    let entries = vec![
        entry(1, log(1), 1),
        entry(2, log(2), 1),
        state.encode_to_vec().into(),
    ];
    let batches = vec![
        row(log(1), 1, first("hello")),
        row(log(2), 1, first("secret")),
        row(log(9), 1, entries),
    ];
    bench.put(batches, vec![erased]).await;
    let outcome = bench.ask(read::Query::Mailbox(mailbox(log(9), 0, 3))).await;
    assert_eq!(
        (outcome.code, outcome.more),
        (0, false),
        "{}",
        outcome.message
    );
    let positions: Vec<_> = outcome
        .deliveries
        .iter()
        .map(|one| (one.position, one.nonce))
        .collect();
    let nonce = bench.epoch * 100;
    assert_eq!(positions, [(1, nonce), (2, nonce), (3, nonce)]);
    let event = |index: usize| match &outcome.deliveries[index].body {
        Some(stored_delivery::Body::Event(bytes)) => Event::decode(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(event(0).kind, Some(event::Kind::Message(said("hello"))));
    assert!(event(1).overlay.unwrap().erased);
    assert!(!format!("{outcome:?}").contains("secret"));
    assert!(matches!(
        outcome.deliveries[2].body,
        Some(stored_delivery::Body::State(_))
    ));
    let rest = bench.ask(read::Query::Mailbox(mailbox(log(9), 2, 3))).await;
    assert_eq!(rest.deliveries.len(), 1);
    let nothing = bench.ask(read::Query::Mailbox(mailbox(log(9), 3, 3))).await;
    assert_eq!((nothing.code, nothing.deliveries.len()), (0, 0));
}

#[tokio::test]
async fn a_hole_in_a_mailbox_or_a_missing_event_is_data_loss() {
    let bench = Bench::new().await;
    bench
        .put(vec![row(log(9), 1, vec![entry(1, log(1), 4)])], vec![])
        .await;
    for (after, head) in [(0, 1), (1, 2)] {
        let outcome = bench
            .ask(read::Query::Mailbox(mailbox(log(9), after, head)))
            .await;
        assert_eq!(outcome.code, i32::from(tonic::Code::DataLoss));
        assert!(outcome.message.contains("missing"), "{}", outcome.message);
    }
}

#[tokio::test]
async fn ten_thousand_entries_come_in_bounded_pages() {
    let bench = Bench::new().await;
    for first in (1..=10_000).step_by(500) {
        let conversations = (0..5u64).map(|number| {
            let log_id = log(number as u8 + 1);
            let first_here = (first - 1) / 5 + 1;
            let text = "x".repeat(100);
            let events = (first_here..first_here + 100)
                .map(|seq| conversation_event(seq, event::Kind::Message(said(&text))));
            row(log_id, first_here, events.collect())
        });
        let entries = (first..first + 500).map(|position| {
            entry(
                position,
                log((position % 5) as u8 + 1),
                (position - 1) / 5 + 1,
            )
        });
        let entries = row(log(9), first, entries.collect());
        bench
            .put(conversations.chain([entries]).collect(), vec![])
            .await;
    }
    let (mut position, mut pages, begun) = (0, 0, std::time::Instant::now());
    while position < 10_000 {
        let query = MailboxQuery {
            entries_max: 2_000,
            ..mailbox(log(9), position, 10_000)
        };
        let outcome = bench.ask(read::Query::Mailbox(query)).await;
        assert_eq!(outcome.code, 0, "{}", outcome.message);
        assert_eq!(
            outcome.more,
            outcome.deliveries.last().unwrap().position < 10_000
        );
        for delivery in &outcome.deliveries {
            position += 1;
            assert_eq!(delivery.position, position);
        }
        pages += 1;
    }
    eprintln!("10,000 entries in {pages} pages took {:?}", begun.elapsed());
    let small = MailboxQuery {
        bytes_max: 1_000,
        ..mailbox(log(9), 0, 10_000)
    };
    let outcome = bench.ask(read::Query::Mailbox(small)).await;
    let bytes: usize = outcome
        .deliveries
        .iter()
        .map(StoredDelivery::encoded_len)
        .sum();
    assert!(
        outcome.more && bytes <= 1_000 && outcome.deliveries.len() > 2,
        "{bytes}"
    );
}
