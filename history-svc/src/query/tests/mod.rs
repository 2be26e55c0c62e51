//! Queries over a real store: what a device and a history reader get.

mod apart;
mod mailbox;

use std::sync::Arc;

use bytes::Bytes;
use heddle_proto::ids::LogId;
use heddle_proto::internal::*;
use heddle_proto::v1::{self, Event, event, message::Content};
use proptest::prelude::*;
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
async fn ranges_go_both_ways_in_pages_and_leave_out_what_is_hidden() {
    let bench = Bench::new().await;
    for first in (1..=91).step_by(10) {
        bench.put(vec![batch(log(1), first, 10)], vec![]).await;
    }
    let seqs = async |query: RangeQuery| {
        let outcome = bench.ask(read::Query::Range(query)).await;
        let seq = |bytes: Bytes| Event::decode(bytes).unwrap().seq;
        (
            outcome.events.into_iter().map(seq).collect::<Vec<_>>(),
            outcome.more,
        )
    };
    let page = RangeQuery {
        from_seq: 15,
        to_seq: 40,
        events_max: 4,
        ..range(log(1))
    };
    assert_eq!(seqs(page.clone()).await, (vec![15, 16, 17, 18], true));
    let down = RangeQuery {
        descending: true,
        ..page.clone()
    };
    assert_eq!(seqs(down.clone()).await, (vec![40, 39, 38, 37], true));
    let last = RangeQuery {
        from_seq: 37,
        ..down
    };
    assert_eq!(seqs(last).await, (vec![40, 39, 38, 37], false));
    assert_eq!(
        seqs(RangeQuery {
            bytes_max: 1,
            ..page.clone()
        })
        .await,
        (vec![15], true)
    );
    assert_eq!(seqs(range(log(2))).await, (vec![], false));

    let hidden = |seq: u64| Cell {
        table: Table::Hidden.into(),
        partition: log(50).to_bytes(),
        clustering: [&log(1).as_bytes()[..], &seq.to_be_bytes()].concat().into(),
        ..Cell::default()
    };
    bench
        .put(
            vec![],
            [16].into_iter().chain(20..=60).map(hidden).collect(),
        )
        .await;
    let mine = RangeQuery {
        hidden_for_log_id: log(50).to_bytes(),
        ..page
    };
    assert_eq!(seqs(mine.clone()).await, (vec![15, 17, 18, 19], true));
    let all_hidden = RangeQuery {
        from_seq: 20,
        to_seq: 70,
        ..mine
    };
    assert_eq!(seqs(all_hidden.clone()).await, (vec![61, 62, 63, 64], true));
    let none_left = RangeQuery {
        to_seq: 60,
        ..all_hidden
    };
    assert_eq!(seqs(none_left).await, (vec![], false));
}

#[tokio::test]
async fn the_first_event_of_a_time_is_found() {
    let bench = Bench::new().await;
    let mut first = 1;
    for count in [1, 7, 2, 30, 1, 1, 9] {
        let events = (first..first + count)
            .map(|seq| conversation_event(seq, event::Kind::Message(said("x"))))
            .collect();
        bench.put(vec![row(log(1), first, events)], vec![]).await;
        first += count;
    }
    let head = first - 1;
    let find = async |time_ms, head| {
        let query = TimeQuery {
            log_id: log(1).to_bytes(),
            time_ms,
            head,
        };
        bench.ask(read::Query::Time(query)).await.seq
    };
    for seq in 1..=head {
        assert_eq!(find(1_000 * seq, head).await, seq);
        assert_eq!(find(1_000 * seq - 999, head).await, seq);
    }
    assert_eq!(find(0, head).await, 1);
    assert_eq!(find(1_000 * head + 1, head).await, 0);
    assert_eq!(find(10_001, 10).await, 0, "never above the granted head");
    assert_eq!(find(1, 0).await, 0);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Paging through any log, in any direction, brings each event once and in order.
    #[test]
    fn pages_bring_everything_once(
        rows in prop::collection::vec(1u64..6, 1..8),
        page in 1u32..9,
        bytes_max in prop_oneof![Just(0u32), 1u32..200],
        descending in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let mut head = 0;
            for count in rows {
                bench.put(vec![batch(log(1), head + 1, count)], vec![]).await;
                head += count;
            }
            let (mut query, mut found) = (range(log(1)), Vec::new());
            (query.to_seq, query.events_max) = (head, page);
            (query.bytes_max, query.descending) = (bytes_max, descending);
            loop {
                let outcome = bench.ask(read::Query::Range(query.clone())).await;
                assert!(outcome.events.len() <= page as usize);
                for event in outcome.events {
                    found.push(Event::decode(event).unwrap().seq);
                }
                if !outcome.more {
                    break;
                }
                let last = *found.last().unwrap();
                if descending { query.to_seq = last - 1 } else { query.from_seq = last + 1 }
            }
            if descending { found.reverse() }
            assert_eq!(found, (1..=head).collect::<Vec<_>>());
        });
    }
}
