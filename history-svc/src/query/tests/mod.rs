//! Queries over a real store: what a device and a history reader get.

mod apart;
mod mailbox;
mod ranges;

use std::sync::Arc;

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::*;
use heddle_proto::v1::{self, Event, event, message::Content};
use prost::Message as _;

use super::overlay::partition;
use crate::config::HistoryConfig;
use crate::contract::{Store, batch, commit, log, put_ok, take};
use crate::embedded::EmbeddedStore;

struct Bench {
    store: Store,
    epoch: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = HistoryConfig {
            disk_free_bytes_min: 0,
            ..HistoryConfig::at(dir.path())
        };
        let store: Store = Arc::new(EmbeddedStore::open(&config).unwrap());
        let epoch = take(&store).await;
        Self {
            store,
            epoch,
            _dir: dir,
        }
    }

    async fn ask(&self, query: read::Query) -> ReadOutcome {
        let (read, mut answers) = (
            Read {
                id: 7,
                query: Some(query),
            },
            Vec::new(),
        );
        super::run(&*self.store, vec![read], |outcome| answers.push(outcome)).await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].id, 7);
        answers.remove(0)
    }

    async fn put(&self, batches: Vec<LogBatch>, cells: Vec<Cell>) {
        put_ok(
            &self.store,
            Commit {
                cells,
                ..commit(1, self.epoch, batches)
            },
        )
        .await;
    }

    async fn range(&self, query: RangeQuery) -> Vec<Event> {
        let outcome = self.ask(read::Query::Range(query)).await;
        assert_eq!(outcome.code, 0, "{}", outcome.message);
        outcome
            .events
            .into_iter()
            .map(|bytes| Event::decode(bytes).unwrap())
            .collect()
    }
}

fn said(text: &str) -> v1::Message {
    v1::Message {
        content: Some(Content::Text(text.to_owned())),
        ..v1::Message::default()
    }
}

fn conversation_event(seq: u64, kind: event::Kind) -> Bytes {
    let create_time = Some(heddle_proto::time::timestamp(1_000 * seq));
    Event {
        seq,
        create_time,
        kind: Some(kind),
        ..Event::default()
    }
    .encode_to_vec()
    .into()
}

fn row(log_id: LogId, first_seq: u64, events: Vec<Bytes>) -> LogBatch {
    LogBatch {
        log_id: log_id.to_bytes(),
        first_seq,
        committed_head: first_seq - 1,
        events,
    }
}

fn overlay_cell(log_id: LogId, overlay: OverlayRow) -> Cell {
    let (kind, suffix) = match &overlay.kind {
        Some(overlay_row::Kind::Reaction(reaction)) => (
            3,
            [reaction.user_id.as_bytes(), &[0], reaction.key.as_bytes()].concat(),
        ),
        Some(overlay_row::Kind::Edited(_)) => (1, vec![]),
        _ => (2, vec![]),
    };
    let target = overlay.target_seq;
    Cell {
        table: Table::Overlays.into(),
        partition: partition(&log_id, target / super::overlay::BUCKET_SEQS),
        clustering: [&target.to_be_bytes()[..], &[kind], &suffix]
            .concat()
            .into(),
        value: overlay.encode_to_vec().into(),
        delete: false,
    }
}

fn overlay(target_seq: u64, seq: u64, kind: overlay_row::Kind) -> OverlayRow {
    OverlayRow {
        target_seq,
        seq,
        time_ms: 5_000,
        kind: Some(kind),
        ..OverlayRow::default()
    }
}

fn range(log_id: LogId) -> RangeQuery {
    let (from_seq, to_seq, with_overlays) = (1, 1_000_000, true);
    RangeQuery {
        log_id: log_id.to_bytes(),
        from_seq,
        to_seq,
        with_overlays,
        ..Default::default()
    }
}

/// Two messages: the first edited and reacted to, the second edited, then erased.
async fn overlaid() -> Bench {
    let bench = Bench::new().await;
    let edit = |target_seq, text| {
        event::Kind::Edit(v1::Edit {
            target_seq,
            message: Some(said(text)),
        })
    };
    let events = vec![
        conversation_event(1, event::Kind::Message(said("first"))),
        conversation_event(2, event::Kind::Message(said("secret"))),
        conversation_event(3, edit(1, "first, better")),
        conversation_event(4, edit(2, "secret too")),
        conversation_event(
            5,
            event::Kind::Erase(v1::Erase {
                target_seq: 2,
                ..v1::Erase::default()
            }),
        ),
    ];
    let reaction = |user: &str, removed| {
        let (user_id, key) = (user.to_owned(), "+1".to_owned());
        overlay_row::Kind::Reaction(ReactionOverlay {
            user_id,
            key,
            removed,
        })
    };
    let edited = |text| overlay_row::Kind::Edited(said(text).encode_to_vec().into());
    let cells = vec![
        overlay_cell(log(1), overlay(1, 3, edited("first, better"))),
        overlay_cell(log(1), overlay(1, 6, reaction("ann", false))),
        overlay_cell(log(1), overlay(1, 7, reaction("bob", true))),
        overlay_cell(log(1), overlay(2, 4, edited("secret too"))),
        overlay_cell(log(1), overlay(2, 5, overlay_row::Kind::Erased(true))),
    ];
    bench.put(vec![row(log(1), 1, events)], cells).await;
    bench
}

#[tokio::test]
async fn history_shows_what_became_of_messages() {
    let bench = overlaid().await;
    let outcome = bench.ask(read::Query::Range(range(log(1)))).await;
    let served = outcome.events.concat();
    assert!(
        !served.windows(6).any(|window| window == b"secret"),
        "not even before blanking"
    );
    let events = bench.range(range(log(1))).await;
    let first = events[0].overlay.clone().unwrap();
    assert_eq!(first.edited, Some(said("first, better")));
    assert_eq!((first.edit_seq, first.erased), (3, false));
    assert_eq!(first.edit_time, Some(heddle_proto::time::timestamp(5_000)));
    assert_eq!(first.reactions.len(), 1);
    assert_eq!(first.reactions[0].user_id, "ann");
    assert!(events[1].overlay.as_ref().unwrap().erased);
    assert!(events[4].overlay.is_none());
}

#[tokio::test]
async fn an_edit_alone_shows_no_erased_body() {
    let bench = overlaid().await;
    let edits = bench
        .range(RangeQuery {
            from_seq: 4,
            to_seq: 4,
            ..range(log(1))
        })
        .await;
    let Some(event::Kind::Edit(edit)) = &edits[0].kind else {
        panic!("an edit")
    };
    assert_eq!(edit.target_seq, 2);
    assert!(matches!(
        edit.message.as_ref().unwrap().content,
        Some(Content::Erased(_))
    ));
    let raw = bench
        .range(RangeQuery {
            with_overlays: false,
            ..range(log(1))
        })
        .await;
    assert_eq!(raw[1].kind, Some(event::Kind::Message(said("secret"))));
}

#[tokio::test]
async fn wrong_questions_name_the_field() {
    let bench = Bench::new().await;
    let short = Bytes::from_static(b"short");
    let wrong = [
        read::Query::Tail(TailQuery {
            log_id: short.clone(),
            ..Default::default()
        }),
        read::Query::Range(RangeQuery {
            hidden_for_log_id: short,
            ..range(log(1))
        }),
        read::Query::Partition(PartitionQuery::default()),
    ];
    for (query, field) in wrong
        .into_iter()
        .zip(["tail.log_id", "range.hidden_for", "table"])
    {
        let outcome = bench.ask(query).await;
        assert_eq!(outcome.code, i32::from(tonic::Code::InvalidArgument));
        assert!(outcome.message.contains(field), "{}", outcome.message);
    }
}
