//! What has to hold before the store is served: a schema that fits, and promises that can be kept.
//!
//! Invariant: an OK from a store that passed here is on three disks' platters or an operator has
//! accepted, by name, that it may not be.

use std::collections::HashMap;

use super::config::CassandraConfig;
use super::driver::Session;
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
    if !config.accept_periodic_commitlog {
        check_commitlog(session, &here).await?;
    }
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
async fn check_commitlog(session: &dyn Session, datacenter: &str) -> Result<(), ConnectError> {
    let text = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'";
    for (address, told) in session.ask_each(datacenter, text).await? {
        let mode = match told {
            Ok(mode) => mode,
            Err(error) => {
                // A node that is away acknowledges nothing; it is asked when we start next time.
                tracing::warn!(%address, %error, "a node does not tell its commitlog_sync");
                continue;
            }
        };
        let mode = mode.unwrap_or_else(|| "unknown".to_owned());
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
    Ok(())
}

fn refused<T>(field: &'static str, reason: String) -> Result<T, ConnectError> {
    Err(ConnectError::Refused { field, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

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
