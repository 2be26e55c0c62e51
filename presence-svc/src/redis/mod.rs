//! Redis: presence for several presence processes, in one Redis 7 or a Redis Cluster.
//!
//! `keys` says where what lies, `saved` how it is written, `options` what the settings mean,
//! `gateways` lists gateways, `spent` counts what users spend, `connection` sends commands,
//! `keeper` holds the connection and hears the hints. The rules are `rules`', the law is
//! [`PresenceStore`]'s.
//!
//! A change of lives is read, computed here by [`Life`], and written if nobody else was faster
//! (else anew), so there is one set of rules for all backends and no rule in a script.
//!
//! Invariant: nothing waits while there is no connection: calls fail, and work again as soon as
//! `keeper` has one. A life is only ever replaced by one that was computed from it.

mod connection;
#[cfg(test)]
mod figures;
mod gateways;
mod keeper;
mod keys;
mod options;
mod saved;
#[cfg(test)]
pub(crate) mod server;
mod spent;

use std::collections::HashMap;

use heddle_kit::Tasks;
use heddle_proto::internal::GatewayStatus;
use redis::{Cmd, Value, cmd};
use tokio::sync::{broadcast, watch};
use tonic::async_trait;

use crate::config::PresenceConfig;
use crate::rules::{Facts, Life, SessionKey, Timing, UserId};
use crate::store::{Hint, PresenceStore, Session, Setting, Spending, StoreError};
use connection::Connection;
use keeper::Keeper;
use keys::{CHANGES, groups, life_key, setting_key};
pub use options::RedisError;
use options::RedisOptions;

/// Hints that may wait for a slow reader, which then looks everything up.
const HINTS_WAITING_MAX: usize = 1024;
/// Users named in one message on the channel of changes.
const HINT_USERS_MAX: usize = 512;
/// How often a change is computed anew because another process changed the same user.
const TRIES_MAX: usize = 8;

/// Replaces each life that is still what it was read as; answers which ones were not.
///
/// KEYS: lives. ARGV: how long to keep them (milliseconds), then of each what it was, what it
/// becomes.
const REPLACE: &str = "\
local found = redis.call('MGET', unpack(KEYS))
local changed = {}
for at, key in ipairs(KEYS) do
  if (found[at] or '') == ARGV[2 * at] then
    redis.call('SET', key, ARGV[2 * at + 1], 'PX', ARGV[1])
  else
    changed[#changed + 1] = at
  end
end
return changed";

/// Presence kept in Redis. See the module.
pub struct RedisPresence {
    connection: watch::Receiver<Option<Connection>>,
    hints: broadcast::Sender<Hint>,
    timing: Timing,
    is_cluster: bool,
    users_at_once_max: usize,
    keep_ms: u64,
}

/// A user and what is reported of them.
type Reports<'a> = (UserId, Vec<&'a SessionKey>);

impl RedisPresence {
    /// A store that connects by itself, in a task of `tasks`; see [`RedisPresence::ready`].
    pub fn start(config: &PresenceConfig, tasks: &Tasks) -> Result<Self, RedisError> {
        let options = RedisOptions::of(config)?;
        let hints = broadcast::Sender::new(HINTS_WAITING_MAX);
        let (held, connection) = watch::channel(None);
        let store = Self {
            connection,
            hints: hints.clone(),
            timing: config.timing(),
            is_cluster: options.is_cluster,
            users_at_once_max: options.users_at_once_max,
            keep_ms: options.keep_ms,
        };
        let keeper = Keeper::new(options, held, hints);
        tasks.spawn("redis", keeper.keep(tasks.stopping().clone()));
        Ok(store)
    }

    /// Waits until Redis answers and hints are heard.
    pub async fn ready(&self) {
        let mut connection = self.connection.clone();
        // Fails only when the keeper has ended, and then nobody needs this any more.
        let _stopping = connection.wait_for(Option::is_some).await;
    }

    async fn run(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        let connection = self.connection.borrow().clone();
        let connection = connection.ok_or_else(|| StoreError("no connection to Redis".into()))?;
        connection.run(commands).await
    }

    fn groups<'a>(&self, users: impl Iterator<Item = &'a str>) -> Vec<Vec<usize>> {
        groups(users, self.is_cluster, self.users_at_once_max)
    }

    /// Changes lives. `change` says `None` where there is nothing to write, else whether others
    /// may care; those users are hinted at.
    async fn change(
        &self,
        sessions: &[Session],
        change: impl Fn(&mut Life, &[&SessionKey]) -> Option<bool> + Sync,
    ) -> Result<(), StoreError> {
        let mut open = by_user(sessions);
        let mut hinted = Vec::new();
        for _ in 0..TRIES_MAX {
            open = self.try_change(open, &change, &mut hinted).await?;
            if open.is_empty() {
                return self.publish(&hinted).await;
            }
        }
        self.publish(&hinted).await?;
        Err(StoreError("others keep changing the same users".into()))
    }

    /// Answers those whom somebody else has changed between the reading and the writing.
    async fn try_change<'a>(
        &self,
        reports: Vec<Reports<'a>>,
        change: &(impl Fn(&mut Life, &[&SessionKey]) -> Option<bool> + Sync),
        hinted: &mut Vec<UserId>,
    ) -> Result<Vec<Reports<'a>>, StoreError> {
        let groups = self.groups(reports.iter().map(|(user, _)| &**user));
        let reads = groups.iter().map(|group| {
            let mut read = cmd("MGET");
            group.iter().for_each(|&at| {
                read.arg(life_key(&reports[at].0));
            });
            read
        });
        let found = self.run(reads.collect()).await?;
        let (mut writes, mut written) = (Vec::new(), Vec::new());
        for (group, found) in groups.iter().zip(found) {
            let (mut keys, mut values, mut users) = (Vec::new(), Vec::new(), Vec::new());
            for (&at, was) in group.iter().zip(texts(found, group.len())?) {
                let (user, sessions) = &reports[at];
                let mut life = saved::life(&was);
                if let Some(hint) = change(&mut life, sessions) {
                    keys.push(life_key(user));
                    values.extend([was, saved::of_life(&life)]);
                    users.push((at, hint));
                }
            }
            if !keys.is_empty() {
                let mut write = cmd("EVAL");
                write.arg(REPLACE).arg(keys.len()).arg(keys);
                write.arg(self.keep_ms).arg(values);
                writes.push(write);
                written.push(users);
            }
        }
        let refused = self.run(writes).await?;
        let mut again = vec![false; reports.len()];
        for (users, refused) in written.iter().zip(refused) {
            let refused: Vec<usize> = redis::from_redis_value(refused).map_err(odd)?;
            for at in refused {
                let user = at.checked_sub(1).and_then(|at| users.get(at));
                user.inspect(|(report, _)| again[*report] = true);
            }
            let done = users.iter().filter(|(at, hint)| *hint && !again[*at]);
            hinted.extend(done.map(|(at, _)| reports[*at].0.clone()));
        }
        let open = reports.into_iter().zip(again);
        Ok(open
            .filter_map(|(report, again)| again.then_some(report))
            .collect())
    }

    /// Tells all presence processes, this one included, that these users may have changed.
    async fn publish(&self, users: &[UserId]) -> Result<(), StoreError> {
        let messages = users.chunks(HINT_USERS_MAX).map(|users| {
            let mut publish = cmd("PUBLISH");
            publish.arg(CHANGES).arg(saved::of_hint(users));
            publish
        });
        self.run(messages.collect()).await.map(|_receivers| ())
    }
}

/// Sessions by their users, in the order in which these come first.
fn by_user(sessions: &[Session]) -> Vec<Reports<'_>> {
    let mut places = HashMap::with_capacity(sessions.len());
    let mut users: Vec<Reports<'_>> = Vec::with_capacity(sessions.len());
    for Session { user, key } in sessions {
        let at = *places.entry(user).or_insert_with(|| {
            users.push((user.clone(), Vec::with_capacity(1)));
            users.len() - 1
        });
        users[at].1.push(key);
    }
    users
}

/// What an MGET of `count` keys found; nothing is an empty text.
fn texts(found: Value, count: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    let found: Vec<Option<Vec<u8>>> = redis::from_redis_value(found).map_err(odd)?;
    if found.len() != count {
        return Err(odd("an answer for each key was asked for"));
    }
    Ok(found.into_iter().map(Option::unwrap_or_default).collect())
}

fn odd(error: impl std::fmt::Display) -> StoreError {
    StoreError(format!("Redis answers what it should not: {error}"))
}

#[async_trait]
impl PresenceStore for RedisPresence {
    async fn refresh(&self, sessions: &[Session], now_ms: u64) -> Result<(), StoreError> {
        let refresh = |life: &mut Life, keys: &[&SessionKey]| {
            let was_online = life.online_until_ms() > now_ms;
            for key in keys {
                life.refresh(key, now_ms, self.timing.ttl_ms);
            }
            Some(!was_online)
        };
        self.change(sessions, refresh).await
    }

    async fn gone(&self, sessions: &[Session], now_ms: u64) -> Result<(), StoreError> {
        let gone = |life: &mut Life, keys: &[&SessionKey]| {
            let left = keys.iter().filter(|key| life.gone(key, now_ms)).count();
            (left > 0).then_some(true)
        };
        self.change(sessions, gone).await
    }

    async fn lookup(&self, users: &[UserId]) -> Result<Vec<Facts>, StoreError> {
        let groups = self.groups(users.iter().map(|user| &**user));
        let reads = groups.iter().map(|group| {
            let mut read = cmd("MGET");
            for &at in group {
                read.arg(life_key(&users[at])).arg(setting_key(&users[at]));
            }
            read
        });
        let found = self.run(reads.collect()).await?;
        let mut facts = vec![Facts::default(); users.len()];
        for (group, found) in groups.iter().zip(found) {
            let found = texts(found, 2 * group.len())?;
            for (&at, found) in group.iter().zip(found.chunks_exact(2)) {
                facts[at] = saved::facts(&found[0], &found[1]);
            }
        }
        Ok(facts)
    }

    async fn set(&self, settings: &[Setting]) -> Result<(), StoreError> {
        // Of several of one user the last one holds.
        let last: HashMap<&UserId, &Setting> =
            settings.iter().map(|set| (&set.user, set)).collect();
        let last: Vec<&Setting> = last.into_values().collect();
        let mut writes = Vec::new();
        for group in self.groups(last.iter().map(|setting| &*setting.user)) {
            let (mut kept, mut dropped) = (cmd("MSET"), cmd("DEL"));
            let (mut any_kept, mut any_dropped) = (false, false);
            for setting in group.into_iter().map(|at| last[at]) {
                let key = setting_key(&setting.user);
                if let Some(text) = saved::of_setting(setting) {
                    kept.arg(key).arg(text);
                    any_kept = true;
                } else {
                    dropped.arg(key);
                    any_dropped = true;
                }
            }
            writes.extend(any_kept.then_some(kept));
            writes.extend(any_dropped.then_some(dropped));
        }
        self.run(writes).await?;
        let users: Vec<UserId> = last.iter().map(|setting| setting.user.clone()).collect();
        self.publish(&users).await
    }

    async fn announce(&self, gateway: &GatewayStatus, now_ms: u64) -> Result<(), StoreError> {
        self.announce_gateway(gateway, now_ms).await
    }

    async fn gateways(&self, now_ms: u64) -> Result<Vec<GatewayStatus>, StoreError> {
        self.known_gateways(now_ms).await
    }

    async fn spend(&self, spending: &[Spending], _now_ms: u64) -> Result<Vec<u64>, StoreError> {
        self.add_spent(spending).await
    }

    fn changes(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }
}

#[cfg(test)]
mod tests;
