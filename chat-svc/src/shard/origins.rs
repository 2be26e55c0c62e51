//! Origins: whose fan-outs a shard takes, so that nothing is taken behind a loss.
//!
//! Pure. The other end of `outbound`: after something was lost, nothing of that sender is taken
//! until it begins again; nothing of an earlier owner is taken once a later one was heard.

use heddle_kit::FastMap;
use heddle_proto::internal::FanOut;

/// What becomes of a fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is taken.
    Taken,
    /// Something before it was lost: its sender should begin again.
    Refused,
    /// Its sender owns its shard no more.
    Stale,
}

/// The senders, by shard: the epoch, and whether all of it so far has been taken.
#[derive(Default)]
pub struct Origins(FastMap<u32, (u64, bool)>);

impl Origins {
    /// A fan-out arrives.
    pub fn admit(&mut self, fan_out: &FanOut) -> Admission {
        let (epoch, whole) = self.0.entry(fan_out.from_shard).or_default();
        if fan_out.from_epoch < *epoch {
            return Admission::Stale;
        }
        if fan_out.from_epoch > *epoch || fan_out.restart {
            (*epoch, *whole) = (fan_out.from_epoch, fan_out.restart);
        }
        match *whole {
            true => Admission::Taken,
            false => Admission::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission::*, *};

    fn fan_out(from_epoch: u64, restart: bool) -> FanOut {
        FanOut {
            from_shard: 3,
            from_epoch,
            restart,
            ..Default::default()
        }
    }

    #[test]
    fn nothing_is_taken_behind_a_loss_or_from_an_earlier_owner() {
        let mut origins = Origins::default();
        let mut admit = |epoch, restart| origins.admit(&fan_out(epoch, restart));
        assert_eq!(admit(5, false), Refused, "the first was lost");
        assert_eq!(admit(5, true), Taken);
        assert_eq!(admit(5, false), Taken);
        assert_eq!(admit(6, false), Refused, "the next owner's first was lost");
        assert_eq!(admit(5, true), Stale);
        assert_eq!(admit(6, true), Taken);
    }
}
