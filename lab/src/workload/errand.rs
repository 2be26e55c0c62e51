//! One request that must be answered: repeated with the same id until it is.
//!
//! Invariant: an answer is recorded once; a refusal after a try whose answer got lost counts as
//! unknown, since that try may have been taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heddle_proto::v1::open_session_request::Frame;
use heddle_proto::v1::result::Outcome as Answer;
use heddle_sdk::{ConversationId, SessionHandle};

use super::Shared;
use crate::checker::{Outcome, Send};

/// Between tries.
const RETRY: Duration = Duration::from_millis(50);

/// What an errand is about.
pub enum Errand {
    /// An edit, erasure or reaction, with its record.
    Change(Frame, Send),
    /// A read mark.
    Mark(Frame),
    /// A delete for oneself.
    Hide(Frame, u32, u64),
    /// Leave a group, and be brought back by its owner.
    Rejoin(ConversationId),
}

/// Runs it to its end.
pub async fn run(
    shared: Arc<Shared>,
    user: usize,
    group: usize,
    handle: SessionHandle,
    errand: Errand,
) {
    shared.outstanding.fetch_add(1, Ordering::Relaxed);
    match errand {
        Errand::Change(frame, send) => change(&shared, user, &handle, frame, send).await,
        Errand::Mark(frame) => drop(ask(&handle, frame).await),
        Errand::Hide(frame, conversation, seq) => {
            // Told before it is asked: a reader that misses the message is then no surprise.
            shared
                .recorder
                .lock()
                .hid(user as u32, conversation, seq, false);
            if let (Ok(_), _) = ask(&handle, frame).await {
                shared
                    .recorder
                    .lock()
                    .hid(user as u32, conversation, seq, true);
            }
        }
        Errand::Rejoin(id) => {
            // Who is no member any more is told so, and is brought back all the same.
            match shared.clients[user].leave(id).await {
                Ok(seq) => {
                    let mut history = shared.recorder.lock();
                    history.left(user as u32, group as u32, seq);
                }
                Err(error) => shared.note_error(&error),
            }
            let owner = shared.groups[group].members[0];
            let back = vec![shared.ids[user].clone()];
            if let Err(error) = shared.clients[owner].add_members(id, back).await {
                tracing::warn!(%error, "nobody could be brought back");
                shared.note_error(&error);
            }
        }
    }
    shared.outstanding.fetch_sub(1, Ordering::Relaxed);
}

async fn change(shared: &Shared, user: usize, handle: &SessionHandle, frame: Frame, send: Send) {
    let id = send.id;
    let index = {
        // Changes fly beside messages and name no predecessor: each is in an order of its own.
        let mut history = shared.recorder.lock();
        let device = history.device(user as u32, format!("{} changes", shared.ids[user]));
        history.send(Send { device, ..send })
    };
    let (answer, lost) = ask(handle, frame).await;
    let outcome = match answer {
        Ok(Answer::Edit(edit)) => Outcome::Ok(edit.seq),
        Ok(Answer::Erase(erase)) => Outcome::Ok(erase.seq),
        Ok(Answer::React(react)) if react.seq == 0 => Outcome::NoChange,
        Ok(Answer::React(react)) => Outcome::Ok(react.seq),
        Ok(_) => Outcome::Unknown,
        Err(_) if lost => Outcome::Unknown,
        Err(error) => {
            // Should it be found stored all the same, this says what its sender was told.
            tracing::warn!(%error, id = format!("{id:032x}"), "a change was refused");
            Outcome::Failed
        }
    };
    shared
        .acknowledged
        .fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
    let now_us = shared.now_us();
    shared.recorder.lock().answer(index, outcome, now_us);
}

/// The answer, and whether one to an earlier try was lost.
async fn ask(handle: &SessionHandle, frame: Frame) -> (Result<Answer, heddle_sdk::Error>, bool) {
    let mut lost = false;
    loop {
        if let Err(error) = handle.connected().await {
            return (Err(error), true);
        }
        match handle.request(frame.clone()).await {
            Ok(answer) => return (Ok(answer), lost),
            Err(error) if error.is_retryable() => lost = true,
            // The session was closed by its own device; whether this was done is unknown.
            Err(error) if error.code == tonic::Code::Cancelled => return (Err(error), true),
            Err(error) => return (Err(error), lost),
        }
        tokio::time::sleep(RETRY).await;
    }
}
