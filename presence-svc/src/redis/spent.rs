//! Spent: what users have spent of their rates lately, in Redis.
//!
//! A counter for each user, which all presence processes add to; `mod` calls here.
//!
//! Invariant: a counter ends by itself, [`SPENT_TTL_MS`] after the last word of it by Redis's
//! clock.

use redis::cmd;

use super::keys::spent_key;
use super::{RedisPresence, odd};
use crate::store::{SPENT_TTL_MS, Spending, StoreError};

/// Adds to each counter and keeps it; answers what they are.
///
/// KEYS: counters. ARGV: how long to keep them (milliseconds), then of each what to add. One after
/// the other, so that a key may come twice.
const ADD: &str = "\
local totals = {}
for at, key in ipairs(KEYS) do
  totals[at] = redis.call('INCRBY', key, ARGV[at + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end
return totals";

impl RedisPresence {
    pub(super) async fn add_spent(&self, spending: &[Spending]) -> Result<Vec<u64>, StoreError> {
        let names: Vec<String> = spending.iter().map(|it| hex(&it.user)).collect();
        let groups = self.groups(names.iter().map(String::as_str));
        let adds = groups.iter().map(|group| {
            let mut add = cmd("EVAL");
            add.arg(ADD).arg(group.len());
            for &at in group {
                add.arg(spent_key(&names[at]));
            }
            add.arg(SPENT_TTL_MS);
            for &at in group {
                add.arg(spending[at].calls);
            }
            add
        });
        let answers = self.run(adds.collect()).await?;
        let mut totals = vec![0; spending.len()];
        for (group, answer) in groups.iter().zip(answers) {
            let answer: Vec<u64> = redis::from_redis_value(answer).map_err(odd)?;
            if answer.len() != group.len() {
                return Err(odd("a total for each counter was asked for"));
            }
            for (&at, total) in group.iter().zip(answer) {
                totals[at] = total;
            }
        }
        Ok(totals)
    }
}

fn hex(user: &[u8]) -> String {
    user.iter().map(|byte| format!("{byte:02x}")).collect()
}
