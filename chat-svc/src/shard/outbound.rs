//! Outbound: fan-outs to each mailbox shard that are not acknowledged yet, and when to send again.
//!
//! Pure. Goes back to the first: what a shard lost is sent again with all that followed it, in
//! order, since a mailbox must not hear of a newer membership before the end of an older one.
//!
//! Invariant: a fan-out stays here until it is acknowledged, or until its shard is given up (the
//! next owner knows from its notes). While a target is stalled nothing is sent to it.

use heddle_kit::FastMap;
use heddle_proto::{ids::LogId, internal::FanOut};
use std::{collections::BTreeMap, sync::Arc};

/// Unacknowledged fan-outs of a shard; beyond it no more commands are taken.
pub const UNACKNOWLEDGED_MAX: usize = 16 * 1024;
/// After how long without a word everything is sent again to another node, in milliseconds.
pub const RESEND_AWAY_MS: u64 = 1_000;
/// The same for shards of this node: only a refusal that crossed a move can have been lost.
pub const RESEND_HERE_MS: u64 = 5_000;
/// After how long what was refused is sent again, in milliseconds.
pub const REFUSED_MS: u64 = 50;
/// How many times longer each try without success waits, at most.
const BACKOFF_MAX: u64 = 8;

/// A fan-out under way.
pub struct Sent {
    /// What is sent.
    pub fan_out: Arc<FanOut>,
    /// The conversation.
    pub log: LogId,
    /// Its range of open work.
    pub range: u64,
}

#[derive(Default)]
struct Target {
    unacknowledged: BTreeMap<u64, Sent>,
    /// When everything is sent again, in any case.
    again_ms: Option<u64>,
    /// When something was heard, or begun.
    heard_ms: u64,
    backoff: u64,
}

/// All targets of a shard.
#[derive(Default)]
pub struct Outbound {
    targets: FastMap<u32, Target>,
    count: usize,
}

impl Outbound {
    /// Whether nothing to `shard` is unacknowledged: what comes next is a restart.
    pub fn is_idle(&self, shard: u32) -> bool {
        let target = self.targets.get(&shard);
        target.is_none_or(|target| target.unacknowledged.is_empty())
    }

    /// Takes a fan-out in, by its id; ids grow.
    pub fn put(&mut self, shard: u32, sent: Sent, now_ms: u64) {
        let target = self.targets.entry(shard).or_default();
        if target.unacknowledged.is_empty() {
            target.heard_ms = now_ms;
            target.backoff = 1;
        }
        target.unacknowledged.insert(sent.fan_out.id, sent);
        self.count += 1;
    }

    /// A fan-out is stored.
    pub fn acknowledge(&mut self, shard: u32, id: u64, now_ms: u64) -> Option<Sent> {
        let target = self.targets.get_mut(&shard)?;
        let sent = target.unacknowledged.remove(&id)?;
        (target.heard_ms, target.backoff) = (now_ms, 1);
        if target.unacknowledged.is_empty() {
            target.again_ms = None;
        }
        self.count -= 1;
        Some(sent)
    }

    /// A fan-out did not leave, or was refused: nothing more is sent until `at_ms`.
    pub fn stall(&mut self, shard: u32, id: u64, at_ms: u64) {
        if let Some(target) = self.targets.get_mut(&shard)
            && target.unacknowledged.contains_key(&id)
        {
            target.again_ms.get_or_insert(at_ms);
        }
    }

    /// The target has moved: everything goes there now.
    pub fn moved(&mut self, shard: u32, now_ms: u64) {
        if let Some(target) = self.targets.get_mut(&shard)
            && !target.unacknowledged.is_empty()
        {
            (target.again_ms, target.backoff) = (Some(now_ms), 1);
        }
    }

    /// Whether nothing may be sent to the shard now.
    pub fn is_stalled(&self, shard: u32) -> bool {
        let target = self.targets.get(&shard);
        target.is_some_and(|target| target.again_ms.is_some())
    }

    /// What is due to be sent again, in order, the first as a restart. `patience_ms` says how long
    /// a target may be silent.
    pub fn due(
        &mut self,
        now_ms: u64,
        patience_ms: impl Fn(u32) -> u64,
    ) -> Vec<(u32, Vec<Arc<FanOut>>)> {
        let mut due = Vec::new();
        for (shard, target) in &mut self.targets {
            let silent_ms = patience_ms(*shard) * target.backoff.max(1);
            let at_ms = target.again_ms.unwrap_or(target.heard_ms + silent_ms);
            if target.unacknowledged.is_empty() || now_ms < at_ms {
                continue;
            }
            if target.again_ms.take().is_none() {
                target.backoff = (target.backoff * 2).min(BACKOFF_MAX);
            }
            target.heard_ms = now_ms;
            let mut first = true;
            let again = target.unacknowledged.values_mut().map(|sent| {
                if std::mem::take(&mut first) && !sent.fan_out.restart {
                    Arc::make_mut(&mut sent.fan_out).restart = true;
                }
                sent.fan_out.clone()
            });
            due.push((*shard, again.collect()));
        }
        due
    }

    /// How many are unacknowledged.
    pub fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(outbound: &mut Outbound, id: u64) {
        let fan_out = FanOut {
            id,
            restart: outbound.is_idle(7),
            ..Default::default()
        };
        let sent = Sent {
            fan_out: Arc::new(fan_out),
            log: LogId::mailbox("ann"),
            range: id,
        };
        outbound.put(7, sent, 0);
    }

    fn due(outbound: &mut Outbound, now_ms: u64) -> Vec<(u64, bool)> {
        let due = outbound.due(now_ms, |_| RESEND_AWAY_MS);
        let all = due.into_iter().flat_map(|(_, fan_outs)| fan_outs);
        all.map(|fan_out| (fan_out.id, fan_out.restart)).collect()
    }

    #[test]
    fn a_lost_acknowledgement_makes_everything_after_it_go_again() {
        let mut outbound = Outbound::default();
        (1..=3).for_each(|id| put(&mut outbound, id));
        assert!(outbound.acknowledge(7, 1, 10).is_some());
        assert_eq!(due(&mut outbound, 10 + RESEND_AWAY_MS - 1), []);
        assert_eq!(
            due(&mut outbound, 10 + RESEND_AWAY_MS),
            [(2, true), (3, false)]
        );
        assert_eq!(due(&mut outbound, 11 + RESEND_AWAY_MS), []);
        let twice = 10 + 3 * RESEND_AWAY_MS;
        assert_eq!(due(&mut outbound, twice - 1), [], "tries become rarer");
        assert_eq!(due(&mut outbound, twice).len(), 2);
        assert!(outbound.acknowledge(7, 2, twice).is_some());
        assert!(outbound.acknowledge(7, 2, twice).is_none(), "once");
        assert!(outbound.acknowledge(7, 3, twice).is_some());
        assert_eq!((outbound.len(), outbound.is_idle(7)), (0, true));
    }

    #[test]
    fn a_refused_target_is_left_alone_and_gets_all_in_order() {
        let mut outbound = Outbound::default();
        put(&mut outbound, 1);
        outbound.stall(7, 1, 50);
        put(&mut outbound, 2);
        assert!(outbound.is_stalled(7));
        assert_eq!(due(&mut outbound, 49), []);
        assert_eq!(due(&mut outbound, 50), [(1, true), (2, false)]);
        assert!(!outbound.is_stalled(7));
        outbound.stall(7, 9, 60);
        assert!(!outbound.is_stalled(7), "an old refusal of what is settled");
        outbound.moved(7, 70);
        assert_eq!(due(&mut outbound, 70), [(1, true), (2, false)]);
    }
}
