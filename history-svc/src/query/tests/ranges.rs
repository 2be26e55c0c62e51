//! Ranges of a log: their pages, both ways, and what a time finds.

use proptest::prelude::*;

use super::*;

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
