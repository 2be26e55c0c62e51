//! A chat node is cut off from history, from gateways or from its peers: one way, or both.
//!
//! [`super`] calls it once a cycle; the cycle's number says which of the nine cuts it is, chance
//! which node. [`crate::process::network`] cuts.
//!
//! Invariant: every link is whole again when it returns.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::CALM;
use crate::faults::FaultError;
use crate::target::cluster::Cluster;

/// Three leases of a chat node.
const CUT_FOR: Duration = Duration::from_secs(9);
/// Whom it is cut off from.
const OTHERS: [&str; 3] = ["history-svc/", "gateway/", "chat-svc/"];
/// Which way nothing goes.
const WAYS: [Way; 3] = [Way::From, Way::To, Way::Both];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the node to the others.
    From,
    /// From the others to the node.
    To,
    Both,
}

/// Cuts, waits, heals.
pub(super) async fn strike(
    cluster: &mut Cluster,
    cycle: u32,
    chance: &mut StdRng,
    cuts: &mut BTreeMap<String, u32>,
) -> Result<(), FaultError> {
    let (others, way) = which(cycle);
    let nodes = cluster.names("chat-svc/");
    let Some(node) = nodes.choose(chance) else {
        return Ok(());
    };
    let others = cluster.names(others).into_iter().filter(|it| it != node);
    let others: Vec<IpAddr> = others.filter_map(|it| cluster.address(&it)).collect();
    let Some(node) = cluster.address(node) else {
        return Ok(());
    };
    for other in others {
        if way != Way::To {
            cluster.cut(node, other)?;
        }
        if way != Way::From {
            cluster.cut(other, node)?;
        }
    }
    *cuts.entry(name(cycle)).or_default() += 1;
    tokio::time::sleep(CUT_FOR).await;
    cluster.heal()?;
    tokio::time::sleep(CALM).await;
    Ok(())
}

/// The cut of a cycle; nine cycles have all of them.
fn which(cycle: u32) -> (&'static str, Way) {
    let number = cycle.saturating_sub(1) as usize;
    (OTHERS[number % 3], WAYS[number / 3 % 3])
}

fn name(cycle: u32) -> String {
    let (others, way) = which(cycle);
    let others = others.trim_end_matches('/');
    format!("{others} {way:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_cycles_have_all_cuts() {
        let names: std::collections::BTreeSet<_> = (1..=9).map(name).collect();
        assert_eq!(names.len(), 9);
        assert!(names.contains("gateway both") && names.contains("history-svc from"));
    }
}
