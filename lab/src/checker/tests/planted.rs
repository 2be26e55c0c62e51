//! One planted violation for each verdict: it must be named, and nothing else.

use super::*;

#[test]
fn a_clean_history_yields_none() {
    let report = check(&talk());
    assert!(report.is_clean());
    assert_eq!(report.verdicts.len(), Verdict::ALL.len());
    let observed = Observed {
        sends: 5,
        acknowledged: 5,
        unanswered: 0,
        deliveries: 30,
        finals: 6,
    };
    assert_eq!(report.observed, observed);
    assert!(check(&History::default()).is_clean());
}

#[test]
fn lost() {
    let mut history = talk();
    let at = find(&history, 3, 4);
    history.devices[3].stream.remove(at);
    assert_only(&history, Verdict::Lost, 1);
}

#[test]
fn an_acknowledged_send_that_nobody_saw_is_lost() {
    let mut history = talk();
    for device in 0..6 {
        let at = find(&history, device, 5);
        history.devices[device].stream.remove(at);
    }
    assert_only(&history, Verdict::Lost, 6);
}

#[test]
fn a_device_that_did_not_finish_has_lost_nothing() {
    let mut history = talk();
    history.devices[3].stream.pop();
    history.finals.retain(|last| last.device != 3);
    assert!(check(&history).is_clean());
}

#[test]
fn duplicated_in_the_log() {
    // A send without an answer, stored twice by its retry: seqs 1 and 2 on every device.
    let mut history = clean(2, &[(Op::Say, 0), (Op::Say, 0)]);
    let first = history.sends[0];
    history.sends.truncate(1);
    history.sends[0].outcome = Outcome::Unknown;
    let doubled = |event: &Event| Event {
        body: first.body,
        id: if event.id == 0 { 0 } else { first.id },
        ..*event
    };
    rewrite(&mut history, doubled);
    for last in &mut history.finals {
        last.messages.clear();
    }
    let report = check(&history);
    assert_eq!(
        report.count(Verdict::Duplicated),
        1,
        "{:?}",
        report.examples
    );
    // The same, when no device is shown the id.
    rewrite(&mut history, |event| Event { id: 0, ..*event });
    assert_eq!(check(&history).count(Verdict::Duplicated), 1);
}

#[test]
fn duplicated_by_two_answers() {
    let mut history = talk();
    let again = Send {
        outcome: Outcome::Ok(4),
        ..history.sends[0]
    };
    history.sends[3] = again;
    rewrite(&mut history, |event| match event.seq {
        4 => Event {
            body: again.body,
            id: 0,
            ..*event
        },
        _ => *event,
    });
    for last in &mut history.finals {
        last.messages.clear();
    }
    let report = check(&history);
    assert_eq!(
        report.count(Verdict::Duplicated),
        1,
        "{:?}",
        report.examples
    );
}

#[test]
fn duplicated_in_a_mailbox() {
    let mut history = talk();
    let mut again = history.devices[2].stream[1];
    again.position = 6;
    history.devices[2].stream.push(again);
    assert_only(&history, Verdict::Duplicated, 1);
}

#[test]
fn unexpected_when_never_sent() {
    let mut history = talk();
    history.sends.remove(4);
    assert_only(&history, Verdict::Unexpected, 1);
}

#[test]
fn unexpected_when_refused() {
    let mut history = talk();
    history.sends[4].outcome = Outcome::Failed;
    assert_only(&history, Verdict::Unexpected, 1);
    rewrite(&mut history, |event| Event { id: 0, ..*event });
    history.sends[1].body = 77;
    assert!(check(&history).count(Verdict::Unexpected) > 0);
}

#[test]
fn order_divergence() {
    let mut history = talk();
    let stream = &mut history.devices[2].stream;
    let (first, second) = (stream[1].event, stream[2].event);
    (stream[1].event, stream[2].event) = (second, first);
    let report = check(&history);
    assert!(
        report.count(Verdict::OrderDivergence) > 0,
        "{:?}",
        report.examples
    );

    let mut history = talk();
    let seen = history.devices[2].stream[1];
    let other = Event {
        body: 1234,
        ..*history.events.get(seen.event)
    };
    history.devices[2].stream[1].event = history.events.intern(other);
    let report = check(&history);
    assert_eq!(
        report.count(Verdict::OrderDivergence),
        1,
        "{:?}",
        report.examples
    );
}

#[test]
fn seq_gap() {
    let mut history = talk();
    rewrite(&mut history, |event| match event.seq {
        5 => Event { seq: 6, ..*event },
        _ => *event,
    });
    history.sends[4].outcome = Outcome::Ok(6);
    for last in &mut history.finals {
        last.messages.pop();
        let state = history.states.items()[4];
        last.messages
            .push(history.states.intern(MessageState { seq: 6, ..state }));
        last.read = 6;
    }
    assert_only(&history, Verdict::SeqGap, 1);
}

#[test]
fn seq_reuse() {
    let mut history = talk();
    let lost = Send {
        id: 99,
        device: 4,
        body: 1234,
        ..history.sends[2]
    };
    history.sends.push(lost);
    assert_only(&history, Verdict::SeqReuse, 1);
}

#[test]
fn session_order() {
    let mut history = talk();
    history.sends.swap(0, 3);
    assert_only(&history, Verdict::SessionOrder, 1);
}

#[test]
fn files_are_refused_with_their_line() {
    let load = |text: &str| file::load(text.as_bytes()).unwrap_err().to_string();
    assert!(load("").contains("line 1 must be"));
    assert!(load("{\"format\":2}\n").contains("line 1 must be"));
    assert!(load("{\"format\":1}\n{\"user\":\"a\"}\nnonsense\n").contains("line 3"));
    let dangling = "{\"format\":1}\n{\"device\":{\"user\":0,\"name\":\"d\"}}\n";
    assert!(load(dangling).contains("line 2 names a user"));
}

#[test]
fn a_report_is_json_with_every_verdict() {
    let json = serde_json::to_value(check(&talk())).unwrap();
    assert_eq!(json["verdicts"]["seen_after_erasure"], 0);
    assert_eq!(json["verdicts"].as_object().unwrap().len(), 11);
}
