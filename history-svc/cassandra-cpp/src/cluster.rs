//! How to connect: settings of Heddle's as the library knows them.
//!
//! `session` connects with what is made here. Invariant: no client timestamps, no retries of the
//! library's own: the backend repeats statements, with the timestamps that they name.

use std::time::Duration;

use cassandra_cpp::{Cluster, Consistency, LogLevel, RetryPolicy, TimestampGen};
use heddle_history::cassandra::driver::CqlError;
use heddle_history::cassandra::{CassandraConfig, ConnectError};

use crate::not_done;

/// Cassandra's own.
const PORT: u16 = 9042;

/// Where to connect: the library has one port for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    hosts: Vec<String>,
    port: u16,
}

impl Places {
    /// Of the setting `nodes`.
    pub fn of(config: &CassandraConfig) -> Result<Self, ConnectError> {
        let refused = |reason: String| ConnectError::Refused {
            field: "cassandra.nodes",
            reason,
        };
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for node in &config.nodes {
            let (host, port) =
                split(node).ok_or_else(|| refused(format!("{node:?} is not host:port")))?;
            hosts.push(host);
            ports.push(port);
        }
        let Some(&port) = ports.first() else {
            return Err(refused("names no node".to_owned()));
        };
        match ports.iter().all(|other| *other == port) {
            true => Ok(Self { hosts, port }),
            false => Err(refused(
                "the C++ driver asks all nodes on one port; use that of each, or history-svc"
                    .to_owned(),
            )),
        }
    }

    /// One node of the same cluster.
    pub fn only(&self, host: String) -> Self {
        Self {
            hosts: vec![host],
            port: self.port,
        }
    }

    /// The one node's name, for people.
    pub fn address(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }
}

fn split(node: &str) -> Option<(String, u16)> {
    let bare = |host: &str| {
        host.trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned()
    };
    let ends_with_port = node.rfind(':').is_some_and(|at| !node[..at].contains(':'));
    let (host, port) = match node.rsplit_once(':') {
        Some((host, port)) if ends_with_port || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (node, PORT),
    };
    Some((bare(host), port)).filter(|(host, _)| !host.is_empty())
}

/// Which nodes are asked.
#[derive(Clone, Copy, Debug)]
pub enum Reach<'a> {
    /// Any.
    All,
    /// Those of a datacentre.
    Datacenter(&'a str),
    /// Only those that are named.
    Named,
}

/// Settings of a session.
pub fn cluster(
    config: &CassandraConfig,
    places: &Places,
    reach: Reach<'_>,
) -> Result<Cluster, ConnectError> {
    // What it would say is said again by the errors that it answers.
    cassandra_cpp::set_level(LogLevel::DISABLED);
    let mut cluster = Cluster::default();
    let credentials = config.credentials()?;
    set(&mut cluster, config, places, reach).map_err(not_done)?;
    if let Some((user, password)) = credentials {
        let set = cluster.set_credentials(&user, &password);
        set.map_err(not_done)?;
    }
    Ok(cluster)
}

fn set(
    cluster: &mut Cluster,
    config: &CassandraConfig,
    places: &Places,
    reach: Reach<'_>,
) -> Result<(), cassandra_cpp::Error> {
    cluster.set_contact_points(&places.hosts.join(","))?;
    cluster.set_port(places.port)?;
    cluster.set_connect_timeout(config.request_timeout());
    cluster.set_resolve_timeout(config.request_timeout());
    cluster.set_request_timeout(config.request_timeout());
    // In whole seconds; it has no speculative execution in Rust, so that a node that is stopped
    // costs `request_timeout_ms` until these have passed.
    let keepalive = Duration::from_secs(config.keepalive().as_secs().max(1));
    cluster.set_connection_heartbeat_interval(keepalive);
    cluster.set_connection_idle_timeout(2 * keepalive);
    cluster.set_tcp_nodelay(true);
    cluster.set_token_aware_routing(true);
    cluster.set_timestamp_gen(&TimestampGen::gen_server_side_new());
    cluster.set_retry_policy(RetryPolicy::fallthrough_new());
    match reach {
        Reach::All => {}
        Reach::Datacenter(name) => {
            cluster.set_load_balance_dc_aware::<()>(name, 0, false)?;
        }
        Reach::Named => {
            // The crate hands the text over without the zero byte that the library looks for.
            let hosts = places.hosts.join(",") + "\0";
            cluster.set_whitelist_filtering(vec![hosts]);
        }
    }
    Ok(())
}

/// At which levels statements and batches are done.
pub const LEVELS: (Consistency, Consistency) =
    (Consistency::LOCAL_QUORUM, Consistency::LOCAL_SERIAL);

/// No node answers.
pub fn unreachable(error: cassandra_cpp::Error) -> ConnectError {
    ConnectError::Unreachable(CqlError::passing(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(nodes: &[&str]) -> Result<Places, ConnectError> {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        Places::of(&CassandraConfig {
            nodes,
            ..CassandraConfig::default()
        })
    }

    #[test]
    fn nodes_are_named_as_they_are_to_history_svc() {
        let two = places(&["a.example:9142", "10.0.0.2:9142"]).unwrap();
        assert_eq!(two.hosts, ["a.example", "10.0.0.2"]);
        assert_eq!(two.port, 9142);
        assert_eq!(places(&["a"]).unwrap().port, PORT);
        let six = places(&["[::1]:9142"]).unwrap();
        assert_eq!((six.hosts[0].as_str(), six.port), ("::1", 9142));
        assert_eq!(places(&["::1"]).unwrap().hosts, ["::1"]);
    }

    #[test]
    fn what_the_library_cannot_do_is_refused_by_name() {
        for wrong in [&["a:1", "b:2"][..], &["a:x"], &[":1"], &[]] {
            let refused = places(wrong).unwrap_err();
            assert!(refused.to_string().contains("cassandra.nodes"), "{refused}");
            assert!(!refused.may_pass());
        }
    }
}
