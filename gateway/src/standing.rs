//! Standing: whether the device that a unary call names has been revoked.
//!
//! Sessions need none of this: the owner of the mailbox judges each attach, and a revocation ends
//! them. `api` asks here before it serves a call of a named device; the owner is asked at most once
//! in [`KEPT_MAX`] per device, so that a caller who sends fast does not cost a read per message.
//!
//! Invariant: an answer older than `KEPT_MAX` is never used, so a revoked device's token is refused
//! within a second.

use crate::{auth::Identity, edge::Edge};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        Command, StandingCommand, StandingResult, command::Op, command_result::Outcome as Word,
    },
    v1::ErrorReason,
};
use std::time::{Duration, Instant};

/// How long the owner's answer is good for.
const KEPT_MAX: Duration = Duration::from_millis(500);
/// Answers kept; with more devices than that calling within `KEPT_MAX`, the rest are asked about
/// each time.
const ANSWERS_MAX: usize = 100_000;

/// A user and a device.
type Named = (String, String);

/// The owner's answer, and when it was asked for.
#[derive(Clone, Copy, Debug)]
struct Answer {
    revoked_time_ms: u64,
    asked: Instant,
}

/// What owners have said of devices lately.
#[derive(Default)]
pub struct Standing {
    answers: papaya::HashMap<Named, Answer>,
}

impl Standing {
    /// Refuses a call of a device that was revoked after its token was issued.
    pub async fn check(
        &self,
        edge: &Edge,
        identity: &Identity,
        device_id: &str,
    ) -> Result<(), Fault> {
        if device_id.is_empty() {
            return Ok(());
        }
        let named = (identity.user_id.clone(), device_id.to_owned());
        let revoked_time_ms = match self.known(&named, Instant::now()) {
            Some(revoked_time_ms) => revoked_time_ms,
            None => self.ask(edge, named).await?,
        };
        if revoked_time_ms > 0 && identity.issued_time_ms <= revoked_time_ms {
            let text = "this device was revoked; sign in again to get a newer token";
            return Err(Fault::new(ErrorReason::DeviceRevoked, text));
        }
        Ok(())
    }

    /// Forgets what is too old to be used.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.answers.pin().retain(|_, answer| answer.is_fresh(now));
    }

    fn known(&self, named: &Named, now: Instant) -> Option<u64> {
        let answers = self.answers.pin();
        let answer = answers.get(named).filter(|answer| answer.is_fresh(now))?;
        Some(answer.revoked_time_ms)
    }

    async fn ask(&self, edge: &Edge, named: Named) -> Result<u64, Fault> {
        let asked = Instant::now();
        let log = LogId::mailbox(&named.0);
        let command = Command {
            user_id: named.0.clone(),
            device_id: named.1.clone(),
            op: Some(Op::Standing(StandingCommand {})),
            ..Default::default()
        };
        let Word::Standing(StandingResult { revoked_time_ms }) =
            edge.shards.call(edge, log, command).await?
        else {
            return Err(crate::answers::unexpected());
        };
        if self.answers.len() < ANSWERS_MAX {
            let answer = Answer {
                revoked_time_ms,
                asked,
            };
            self.answers.pin().insert(named, answer);
        }
        Ok(revoked_time_ms)
    }
}

impl Answer {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) < KEPT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_used_for_half_a_second_and_then_forgotten() {
        let standing = Standing::default();
        let named = ("ann".to_owned(), "phone".to_owned());
        let asked = Instant::now();
        let answer = Answer {
            revoked_time_ms: 7,
            asked,
        };
        standing.answers.pin().insert(named.clone(), answer);
        assert_eq!(standing.known(&named, asked), Some(7));
        assert_eq!(standing.known(&named, asked + KEPT_MAX), None);
        let other = ("ann".to_owned(), "laptop".to_owned());
        assert_eq!(standing.known(&other, asked), None);
    }
}
