//! What has to hold before the store is served: a schema that fits, and promises that can be kept.
//!
//! Invariant: an OK from a store that passed here is on three disks' platters or an operator has
//! accepted, by name, that it may not be. What cannot be learnt is not taken to be well.

use std::collections::HashMap;

use super::config::CassandraConfig;
use super::driver::{Session, Told};
use super::migrate;
use super::session::{ConnectError, ask};

/// Copies below which one lost node may lose what was answered.
const COPIES_MIN: u32 = 3;

/// Checks all of it; answers the datacentre to work in.
pub async fn check(
    session: &dyn Session,
    config: &CassandraConfig,
) -> Result<String, ConnectError> {
    let replication = replication(session, config).await?;
    migrate::check_version(session, config).await?;
    let here = datacenter(session, config).await?;
    let pinned = migrate::pinned_datacenter(session, config).await?;
    if pinned.as_ref() != Some(&here) && !config.accept_foreign_datacenter {
        let pinned = pinned.unwrap_or_else(|| "none".to_owned());
        return refused(
            "cassandra.datacenter",
            format!(
                "{here}, but the schema was made for {pinned}: what was answered there may be \
                 missing here; set it to {pinned}, or accept_foreign_datacenter"
            ),
        );
    }
    let copies = copies_in(&replication, &here);
    if copies < COPIES_MIN && !config.accept_low_replication {
        let keyspace = &config.keyspace;
        return refused(
            "cassandra.keyspace",
            format!(
                "{keyspace} keeps {copies} copies in {here}, {COPIES_MIN} are needed: alter its \
                 replication and repair, or set accept_low_replication"
            ),
        );
    }
    check_commitlog(session, config, &here).await?;
    Ok(here)
}

/// The datacentre that was asked for, or that of the node that answers.
pub async fn datacenter(
    session: &dyn Session,
    config: &CassandraConfig,
) -> Result<String, ConnectError> {
    if let Some(named) = &config.datacenter {
        return Ok(named.clone());
    }
    let local = "SELECT data_center FROM system.local";
    let rows: Vec<(String,)> = ask(session, local, &[]).await?;
    let first = rows.into_iter().next();
    first
        .map(|(name,)| name)
        .ok_or_else(|| ConnectError::Answer("system.local is empty".to_owned()))
}

async fn replication(
    session: &dyn Session,
    config: &CassandraConfig,
) -> Result<HashMap<String, String>, ConnectError> {
    let keyspace = &config.keyspace;
    let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let rows: Vec<(Vec<(String, String)>,)> =
        ask(session, text, &[keyspace.as_str().into()]).await?;
    match rows.into_iter().next() {
        Some((replication,)) => Ok(replication.into_iter().collect()),
        None => Err(migrate::not_migrated(keyspace)),
    }
}

/// Copies in one datacentre, as `system_schema.keyspaces` tells it.
fn copies_in(replication: &HashMap<String, String>, datacenter: &str) -> u32 {
    let simple = replication
        .get("class")
        .is_some_and(|class| class.ends_with("SimpleStrategy"));
    let name = if simple {
        "replication_factor"
    } else {
        datacenter
    };
    // A transient copy ("3/1") is none to count on.
    let copies = replication.get(name).and_then(|text| text.parse().ok());
    copies.unwrap_or(0)
}

/// Asks each node of the datacentre, since each has its own settings.
async fn check_commitlog(
    session: &dyn Session,
    config: &CassandraConfig,
    datacenter: &str,
) -> Result<(), ConnectError> {
    if config.accept_periodic_commitlog {
        return Ok(());
    }
    let text = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'";
    let told = session.ask_each(datacenter, text).await?;
    judge_commitlog(datacenter, told)
}

/// Refuses what any node tells, or never will tell. Who is only away is passed over, as long as
/// somebody tells; if nobody does, that may pass, and is waited for.
fn judge_commitlog(datacenter: &str, told: Vec<Told>) -> Result<(), ConnectError> {
    let (nodes, mut away) = (told.len(), Vec::new());
    for (address, told) in told {
        let mode = match told {
            Ok(mode) => mode.unwrap_or_else(|| "unknown".to_owned()),
            Err(error) if error.may_pass() => {
                away.push((address, error));
                continue;
            }
            Err(error) => {
                return refused(
                    "cassandra.accept_periodic_commitlog",
                    format!(
                        "{address} does not tell its commitlog_sync: {error}; grant the user \
                         SELECT ON system_views.settings, or set this"
                    ),
                );
            }
        };
        if !matches!(mode.as_str(), "group" | "batch") {
            return refused(
                "cassandra.nodes",
                format!(
                    "{address} has commitlog_sync: {mode} and acknowledges writes before they are \
                     on disk; set it to group, or set accept_periodic_commitlog"
                ),
            );
        }
    }
    if away.len() == nodes {
        let last = away.last();
        let last = last.map(|(address, error)| format!("; {address}: {error}"));
        return Err(ConnectError::Answer(format!(
            "no node of {datacenter} tells its commitlog_sync{}",
            last.unwrap_or_default()
        )));
    }
    for (address, error) in away {
        // Such a node acknowledges nothing; it is asked when we start next time.
        tracing::warn!(%address, %error, "a node does not tell its commitlog_sync");
    }
    Ok(())
}

fn refused<T>(field: &'static str, reason: String) -> Result<T, ConnectError> {
    Err(ConnectError::Refused { field, reason })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::cassandra::driver::{CqlError, Prepared};
    use crate::cassandra::value::{Rows, Value};

    type Answer<'a, T> = BoxFuture<'a, Result<T, CqlError>>;

    /// Nodes with these settings; one that is `away` or `unauthorized` tells none.
    struct Nodes<'n>(&'n [&'static str]);

    impl Session for Nodes<'_> {
        fn prepare<'a>(&'a self, _: &'a str) -> Answer<'a, Box<dyn Prepared>> {
            unreachable!("only nodes are asked")
        }

        fn query<'a>(
            &'a self,
            _: &'a str,
            _: &'a [Value<'a>],
            _: &'a mut dyn Rows,
        ) -> Answer<'a, ()> {
            unreachable!("only nodes are asked")
        }

        fn change<'a>(&'a self, _: &'a str, _: Duration) -> Answer<'a, ()> {
            unreachable!("only nodes are asked")
        }

        fn ask_each<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Vec<Told>> {
            let told = |(index, mode): (usize, &&str)| {
                let told = match *mode {
                    "away" => Err(CqlError::passing("no connection")),
                    "unauthorized" => Err(CqlError::lasting("no SELECT permission")),
                    "nothing" => Ok(None),
                    mode => Ok(Some(mode.to_owned())),
                };
                (format!("10.0.0.{index}:9042"), told)
            };
            let told: Vec<Told> = self.0.iter().enumerate().map(told).collect();
            std::future::ready(Ok(told)).boxed()
        }
    }

    async fn judged(nodes: &[&'static str], accepted: bool) -> Result<(), ConnectError> {
        let config = CassandraConfig {
            accept_periodic_commitlog: accepted,
            ..CassandraConfig::default()
        };
        check_commitlog(&Nodes(nodes), &config, "here").await
    }

    #[tokio::test]
    async fn nodes_are_served_from_if_they_tell_that_they_sync() {
        let (nodes, accept) = ("cassandra.nodes", "cassandra.accept_periodic_commitlog");
        for fine in [&["group", "batch", "group"][..], &["away", "group", "away"]] {
            judged(fine, false).await.unwrap();
        }
        for (wrong, field) in [
            (&["group", "periodic", "group"][..], nodes),
            (&["group", "away", "nothing"][..], nodes),
            (&["group", "group", "unauthorized"][..], accept),
            (&["away", "away", "unauthorized"][..], accept),
        ] {
            let refused = judged(wrong, false).await.unwrap_err();
            assert!(!refused.may_pass(), "ends the start: {refused}");
            assert!(refused.to_string().starts_with(field), "{refused}");
            judged(wrong, true).await.unwrap();
        }
        for silent in [&["away", "away", "away"][..], &[]] {
            let waits = judged(silent, false).await.unwrap_err();
            assert!(waits.may_pass(), "is waited for: {waits}");
            assert!(waits.to_string().contains("no node of here"), "{waits}");
        }
    }

    #[test]
    fn copies_are_counted_in_one_datacentre() {
        let of = |pairs: &[(&str, &str)]| {
            let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            copies_in(&pairs.iter().map(own).collect(), "here")
        };
        let network = (
            "class",
            "org.apache.cassandra.locator.NetworkTopologyStrategy",
        );
        assert_eq!(of(&[network, ("here", "3"), ("there", "2")]), 3);
        assert_eq!(of(&[network, ("there", "3")]), 0);
        assert_eq!(of(&[network, ("here", "3/1")]), 0);
        let simple = ("class", "org.apache.cassandra.locator.SimpleStrategy");
        assert_eq!(of(&[simple, ("replication_factor", "2")]), 2);
    }
}
