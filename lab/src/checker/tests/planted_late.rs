//! Planted violations that show after the send: cursors, states, strangers, erasures.

use super::*;

#[test]
fn cursor_going_back() {
    let mut history = talk();
    let again = history.devices[2].stream[1];
    history.devices[2].stream.push(again);
    assert_only(&history, Verdict::CursorBack, 1);
    // After a resume from there it is what was asked for.
    let last = history.devices[2].stream.pop().unwrap();
    history.resumed(2, 1, MINUTE_US);
    history.devices[2].stream.push(last);
    assert!(check(&history).is_clean());
}

/// The talk, and what the others were told of each user's delivered mark.
fn talk_with_marks(delivered: [u64; 3]) -> History {
    let mut history = talk();
    for (user, delivered) in (0..).zip(delivered) {
        history.mark(Mark {
            device: 0,
            conversation: 0,
            user,
            delivered,
            read: 0,
        });
    }
    history
}

#[test]
fn a_mark_going_back() {
    let mut history = talk_with_marks([5, 5, 5]);
    for read in [3, 4, 2] {
        history.mark(Mark {
            device: 0,
            conversation: 0,
            user: 1,
            delivered: 5,
            read,
        });
    }
    assert_only(&history, Verdict::CursorBack, 1);
}

#[test]
fn state_divergence_of_messages() {
    let mut history = clean(
        2,
        &[(Op::Say, 0), (Op::Edit, 0), (Op::React, 1), (Op::Say, 1)],
    );
    assert!(check(&history).is_clean());
    let shown = *history.states.get(history.finals[0].messages[0]);
    let wrong = [
        MessageState {
            body: 1234,
            ..shown
        },
        MessageState {
            reactions: 0,
            ..shown
        },
        MessageState { seq: 2, ..shown },
    ];
    for (wrong, count) in wrong.into_iter().zip([1, 1, 2]) {
        let mut history = history.clone();
        history.finals[0].messages[0] = history.states.intern(wrong);
        assert_only(&history, Verdict::StateDivergence, count);
    }
    history.finals[3].messages.pop();
    assert_only(&history, Verdict::StateDivergence, 1);
}

#[test]
fn state_divergence_of_a_hidden_message_that_is_shown() {
    let mut history = clean(2, &[(Op::Say, 0), (Op::Say, 1)]);
    history.hid(0, 0, 1, true);
    assert_only(&history, Verdict::StateDivergence, 2);
    history.hidden[0].sure = false;
    assert!(check(&history).is_clean());
}

#[test]
fn state_divergence_of_unread() {
    let mut history = talk();
    for last in &mut history.finals {
        (last.read, last.marks) = (2, Vec::new());
        // Of seqs 3, 4, 5 by users 2, 0, 1: others' after one's own last.
        last.unread = Some([1, 0, 2][last.device as usize / 2]);
    }
    assert!(check(&history).is_clean(), "{:?}", check(&history).examples);
    history.finals[4].unread = Some(3);
    assert_only(&history, Verdict::StateDivergence, 1);
}

#[test]
fn state_divergence_of_marks() {
    let mut history = talk();
    history.finals[3].marks = vec![(0, 5, 4)];
    assert_only(&history, Verdict::StateDivergence, 1);
    let mut history = talk_with_marks([5, 5, 5]);
    history.mark(Mark {
        device: 0,
        conversation: 0,
        user: 1,
        delivered: 6,
        read: 1,
    });
    assert_only(&history, Verdict::StateDivergence, 1);
}

#[test]
fn state_divergence_of_a_delivered_mark_that_stays_behind() {
    // The last messages are 3, 4, 5 by users 2, 0, 1: one's own says as much as a mark.
    let history = talk_with_marks([5, 4, 5]);
    assert!(check(&history).is_clean(), "{:?}", check(&history).examples);
    let mut history = talk_with_marks([5, 4, 4]);
    assert_only(&history, Verdict::StateDivergence, 1);
    // A device that did not finish may not have received it.
    history.finals.retain(|last| last.device / 2 != 2);
    assert!(check(&history).is_clean());
}

#[test]
fn an_answered_leave_that_the_log_lacks_is_lost() {
    let mut history = clean(3, &[(Op::Say, 0), (Op::Leave, 2), (Op::Say, 1)]);
    history.left(2, 0, 2);
    assert!(check(&history).is_clean());
    history.left(1, 0, 4);
    assert_only(&history, Verdict::Lost, 1);
}

#[test]
fn seen_by_a_stranger() {
    let mut history = clean(3, &[(Op::Say, 0), (Op::Leave, 2), (Op::Say, 1)]);
    assert!(check(&history).is_clean());
    let seen = *history.devices[0].stream.last().unwrap();
    let event = Event {
        id: 0,
        ..*history.events.get(seen.event)
    };
    history.delivered(4, event, 2, MINUTE_US);
    assert_only(&history, Verdict::SeenByStranger, 1);
}

#[test]
fn seen_after_erasure() {
    let history = clean(2, &[(Op::Say, 0), (Op::Erase, 0), (Op::Say, 1)]);
    assert!(check(&history).is_clean());
    let erased_us = history.sends[1].answered_us;
    let text = Event {
        id: 0,
        ..*history.events.get(history.devices[0].stream[0].event)
    };
    let shown = Event {
        body: BODY_ERASED,
        ..text
    };
    let mut read = history.clone();
    read.read(2, shown, erased_us + 5);
    read.read(2, text, erased_us - 5);
    assert!(check(&read).is_clean());
    read.read(2, text, erased_us + 5);
    assert_only(&read, Verdict::SeenAfterErasure, 1);
    let mut resumed = history;
    resumed.resumed(2, 0, erased_us + 5);
    resumed.delivered(2, text, 1, erased_us + 10);
    assert_only(&resumed, Verdict::SeenAfterErasure, 1);
}

#[test]
fn an_answer_that_changed_nothing_has_no_event() {
    let mut history = clean(2, &[(Op::Say, 0), (Op::React, 1)]);
    let again = Send {
        id: 99,
        outcome: Outcome::NoChange,
        ..history.sends[1]
    };
    history.sends.push(again);
    assert!(check(&history).is_clean());
}

#[test]
fn who_reads_late_sees_an_edit_of_an_erased_message_without_its_text() {
    let ops = [Op::Say, Op::React, Op::Edit, Op::Erase].map(|op| (op, 0));
    let mut history = clean(1, &ops);
    history.sends.truncate(1);
    rewrite(&mut history, |event| Event {
        body: if matches!(event.kind, Kind::Message | Kind::Edit) {
            BODY_ERASED
        } else {
            event.body
        },
        ..*event
    });
    assert_eq!(check(&history).count(Verdict::StateDivergence), 0);
}

#[test]
fn wild_numbers_neither_panic_nor_take_for_ever() {
    let mut history = talk();
    let event = Event {
        seq: u64::MAX,
        target: u64::MAX,
        id: 0,
        ..history.events.items()[0]
    };
    history.delivered(2, event, u64::MAX, u64::MAX);
    history.delivered(2, Event { seq: 0, ..event }, 6, 0);
    history.finals[0].read = u64::MAX;
    history.sends[0].invoked_us = u64::MAX;
    history.sends[0].outcome = Outcome::Ok(u64::MAX - 1);
    let report = check(&history);
    assert_eq!(report.count(Verdict::SeqGap), 1, "{:?}", report.examples);
    assert!(report.count(Verdict::SeenByStranger) > 0);
}
