//! What has to hold before the store is served: a schema that fits, and promises that can be kept.
//!
//! Invariant: an OK from a store that passed here is on three disks' platters or an operator has
//! accepted, by name, that it may not be.

use std::collections::HashMap;
use std::sync::Arc;

use scylla::client::session::Session;
use scylla::cluster::Node;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Statement;

use super::config::CassandraConfig;
use super::migrate;
use super::session::{ConnectError, rows_of};

/// Copies below which one lost node may lose what was answered.
const COPIES_MIN: u32 = 3;

/// Checks all of it; answers the datacentre to work in.
pub async fn check(session: &Session, config: &CassandraConfig) -> Result<String, ConnectError> {
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
    session: &Session,
    config: &CassandraConfig,
) -> Result<String, ConnectError> {
    if let Some(named) = &config.datacenter {
        return Ok(named.clone());
    }
    let local = "SELECT data_center FROM system.local";
    let rows: Vec<(String,)> = ask(session, local).await?;
    let first = rows.into_iter().next();
    first
        .map(|(name,)| name)
        .ok_or_else(|| ConnectError::Answer("system.local is empty".to_owned()))
}

async fn replication(
    session: &Session,
    config: &CassandraConfig,
) -> Result<HashMap<String, String>, ConnectError> {
    let keyspace = &config.keyspace;
    let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let found = session.query_unpaged(text, (keyspace,)).await?;
    let rows: Vec<(HashMap<String, String>,)> = rows_of(found).map_err(ConnectError::Answer)?;
    match rows.into_iter().next() {
        Some((replication,)) => Ok(replication),
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
async fn check_commitlog(session: &Session, datacenter: &str) -> Result<(), ConnectError> {
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info().iter();
    let here = |node: &&Arc<Node>| node.datacenter.as_deref() == Some(datacenter);
    for node in nodes.filter(here) {
        let mut statement =
            Statement::new("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'");
        let only = NodeIdentifier::Node(node.clone());
        statement.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(only, None)));
        let address = node.address;
        let found = session.query_unpaged(statement, ()).await;
        let rows: Vec<(Option<String>,)> = match found {
            Ok(found) => rows_of(found).map_err(ConnectError::Answer)?,
            Err(error) => {
                // A node that is away acknowledges nothing; it is asked when we start next time.
                tracing::warn!(%address, %error, "a node does not tell its commitlog_sync");
                continue;
            }
        };
        let mode = rows.into_iter().next().and_then(|(value,)| value);
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

async fn ask<R>(session: &Session, text: &str) -> Result<Vec<R>, ConnectError>
where
    R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
{
    rows_of(session.query_unpaged(text, ()).await?).map_err(ConnectError::Answer)
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
