//! What follows when a connection ends, or is asked to: whether the session comes back, when, and
//! where.
//!
//! The `engine` asks. Invariant: a device that was replaced or revoked never comes back.

use super::core::End;
use super::engine::Engine;
use super::leaving::Leaving;
use super::update::Update;
use crate::{Error, error::Reason};
use heddle_proto::v1;
use std::time::Duration;
use tokio::time::Instant;

/// Refusals of the token in a row after which the session gives up.
const TOKEN_REFUSALS_MAX: u32 = 3;

impl Engine {
    /// Goes on until the time comes, where the server does.
    pub(super) fn asked_to_go(&mut self, go_away: Box<v1::GoAway>) -> Result<(), End> {
        let Some(leaving) = Leaving::asked(&go_away, Instant::now()) else {
            return Err(End::GoAway(go_away));
        };
        self.leaving = Some(leaving);
        self.core.tell(Update::GoAway(go_away));
        Ok(())
    }

    /// Decides whether and when to come back.
    pub(super) fn next_try(&mut self, end: End) -> Result<(Error, Duration), Error> {
        let chance = rand::random();
        if let Some(leaving) = self.leaving.take()
            && matches!(end, End::Left | End::Lost(_))
        {
            let text = "gone where the server asked to go";
            let left = leaving.left(Instant::now());
            self.elsewhere = leaving.addresses;
            return Ok((Error::local(tonic::Code::Unavailable, text), left));
        }
        match end {
            End::Closed | End::Left => Err(Error::closed()),
            End::Resume(why) => {
                let error = Error::local(tonic::Code::OutOfRange, why);
                Ok((error, self.backoff.failed(None, chance)))
            }
            End::GoAway(go_away) => self.gone_away(*go_away, chance),
            End::Lost(error) => {
                if error.needs_token() {
                    self.token_refusals += 1;
                }
                if !may_come_back(&error) || self.token_refusals >= TOKEN_REFUSALS_MAX {
                    return Err(error);
                }
                let delay = self.backoff.failed(error.retry_delay, chance);
                Ok((error, delay))
            }
        }
    }

    fn gone_away(&mut self, go_away: v1::GoAway, chance: f64) -> Result<(Error, Duration), Error> {
        let reason = go_away.reason();
        let text = reason.as_str_name().trim_start_matches("GO_AWAY_REASON_");
        let error = Error::local(tonic::Code::Unavailable, format!("sent away: {text}"));
        let asked = go_away.retry_delay.and_then(|delay| delay.try_into().ok());
        self.elsewhere = go_away.addresses.clone();
        self.core.tell(Update::GoAway(Box::new(go_away)));
        match reason {
            v1::GoAwayReason::Replaced => Err(error),
            v1::GoAwayReason::Revoked => Err(Error {
                reason: Reason::DeviceRevoked,
                ..error
            }),
            _ => Ok((error, self.backoff.failed(asked, chance))),
        }
    }
}

/// Whether another connection may fare better than one that ended so.
fn may_come_back(error: &Error) -> bool {
    error.needs_token() && error.reason != Reason::DeviceRevoked
        || error.is_retryable()
        || error.code == tonic::Code::Cancelled
}
