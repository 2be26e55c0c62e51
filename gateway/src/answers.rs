//! Answers: what an owner says, as the response that the client gets.
//!
//! Pure. One function for frames of sessions and their unary twins, so that both say the same.
//!
//! Invariant: an answer of the wrong kind is INTERNAL, never a guess.

use heddle_proto::{
    errors::Fault,
    internal::{AppendResult, command_result},
    time,
    v1::{self, ErrorReason, result::Outcome},
};

/// What a request asked for; says what its answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SendMessage.
    Send,
    /// EditMessage.
    Edit,
    /// EraseMessage.
    Erase,
    /// React.
    React,
    /// Mark.
    Mark,
    /// HideMessages.
    Hide,
    /// SendTyping.
    Typing,
    /// SendSignal.
    Signal,
    /// SetForeground.
    Foreground,
}

/// The client's answer from the owner's.
pub fn outcome(kind: Kind, result: command_result::Outcome) -> Result<Outcome, Fault> {
    use command_result::Outcome as From;
    Ok(match (kind, result) {
        (_, From::Error(error)) => return Err(Fault::from_wire(error)),
        (Kind::Send, From::Append(AppendResult { seq, time_ms })) => {
            let create_time = Some(time::timestamp(time_ms));
            Outcome::Send(v1::SendMessageResponse { seq, create_time })
        }
        (Kind::Edit, From::Append(done)) => {
            Outcome::Edit(v1::EditMessageResponse { seq: done.seq })
        }
        (Kind::Erase, From::Append(done)) => {
            Outcome::Erase(v1::EraseMessageResponse { seq: done.seq })
        }
        (Kind::React, From::Append(done)) => Outcome::React(v1::ReactResponse { seq: done.seq }),
        (Kind::Mark, From::Mark(mark)) => Outcome::Mark(v1::MarkResponse {
            read_seq: mark.read_seq,
        }),
        (Kind::Hide, From::Done(_)) => Outcome::Hide(v1::HideMessagesResponse {}),
        (Kind::Typing, From::Done(_)) => Outcome::Typing(v1::SendTypingResponse {}),
        (Kind::Signal, From::Done(_)) => Outcome::Signal(v1::SendSignalResponse {}),
        (Kind::Foreground, From::Done(_)) => Outcome::Foreground(v1::SetForegroundResponse {}),
        _ => return Err(unexpected()),
    })
}

/// An owner answered something that does not fit the question.
pub fn unexpected() -> Fault {
    Fault::new(
        ErrorReason::Internal,
        "the owner's answer does not fit; this is a defect",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::internal::DoneResult;

    #[test]
    fn a_stored_send_tells_place_and_time() {
        let stored = command_result::Outcome::Append(AppendResult {
            seq: 4,
            time_ms: 1_500,
        });
        let Ok(Outcome::Send(answer)) = outcome(Kind::Send, stored) else {
            panic!()
        };
        assert_eq!(answer.seq, 4);
        assert_eq!(time::millis(&answer.create_time.unwrap()), 1_500);
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_internal() {
        let wrong = outcome(Kind::Send, command_result::Outcome::Done(DoneResult {}));
        assert_eq!(wrong.unwrap_err().reason, ErrorReason::Internal);
    }

    #[test]
    fn a_fault_passes_as_it_is() {
        let fault = Fault::new(ErrorReason::IdReused, "another body");
        let told = outcome(Kind::Edit, command_result::Outcome::Error(fault.to_wire()));
        assert_eq!(told, Err(fault));
    }
}
