//! Gateways: where else clients can go.
//!
//! This gateway says of itself what clients may know, every few seconds, to presence-svc, which
//! answers with all that live. Discovery tells it to clients, and so does a GoAway.
//!
//! Invariant: a gateway that drains is named to nobody. A list that is old is still told: an
//! address that does not answer costs a client one try.

use crate::config::GatewayOptions;
use heddle_proto::{internal::GatewayStatus, v1};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Addresses that a GoAway names at most.
const ADDRESSES_MAX: usize = 3;

/// The gateways that were heard of last.
#[derive(Default)]
pub struct Gateways(Mutex<Known>);

/// Sorted out when they are heard of: a drain names them to all sessions at once.
#[derive(Default)]
struct Known {
    /// Those that take sessions, the least loaded first.
    open: Vec<GatewayStatus>,
    /// Where a client of this gateway may go instead, those of its region first.
    elsewhere: Vec<String>,
}

/// What a gateway says of itself; none if it does not want to be found.
pub fn own(options: &GatewayOptions, sessions: usize, draining: bool) -> Option<GatewayStatus> {
    Some(GatewayStatus {
        address: options.public_url.clone()?,
        region: options.region.clone(),
        sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        sessions_max: options.sessions_max,
        draining,
    })
}

impl Gateways {
    /// All that live.
    pub fn learn(&self, mut gateways: Vec<GatewayStatus>, options: &GatewayOptions) {
        gateways.retain(|gateway| !gateway.draining);
        gateways.sort_by(|one, other| load(one).total_cmp(&load(other)));
        let own = options.public_url.as_ref();
        let others = gateways.iter().filter(|other| own != Some(&other.address));
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|other| other.region != options.region);
        let nearest = others.into_iter().take(ADDRESSES_MAX);
        let elsewhere = nearest.map(|other| other.address.clone()).collect();
        *self.known() = Known {
            open: gateways,
            elsewhere,
        };
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What clients are told of those in a region; empty: in all.
    pub fn list(&self, region: &str) -> Vec<v1::Gateway> {
        let known = self.known();
        let here = |gateway: &&GatewayStatus| region.is_empty() || gateway.region == region;
        let told = |gateway: &GatewayStatus| v1::Gateway {
            load: load(gateway),
            address: gateway.address.clone(),
            region: gateway.region.clone(),
        };
        known.open.iter().filter(here).map(told).collect()
    }

    /// Where a client of this gateway may go instead.
    pub fn elsewhere(&self) -> Vec<String> {
        self.known().elsewhere.clone()
    }
}

fn load(gateway: &GatewayStatus) -> f64 {
    let part = f64::from(gateway.sessions) / f64::from(gateway.sessions_max.max(1));
    part.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(address: &str, region: &str, sessions: u32, draining: bool) -> GatewayStatus {
        GatewayStatus {
            address: address.into(),
            region: region.into(),
            sessions,
            sessions_max: 100,
            draining,
        }
    }

    fn known() -> Gateways {
        let options = GatewayOptions {
            public_url: Some("me".into()),
            region: "north".into(),
            ..Default::default()
        };
        let gateways = Gateways::default();
        let all = vec![
            gateway("full", "north", 1_000, false),
            gateway("me", "north", 0, false),
            gateway("leaving", "north", 1, true),
            gateway("far", "south", 2, false),
            gateway("near", "north", 50, false),
        ];
        gateways.learn(all, &options);
        gateways
    }

    #[test]
    fn the_least_loaded_come_first_and_who_drains_is_not_named() {
        let listed = |region: &str| -> Vec<(String, f64)> {
            let list = known().list(region).into_iter();
            list.map(|gateway| (gateway.address, gateway.load))
                .collect()
        };
        let all = [("me", 0.0), ("far", 0.02), ("near", 0.5), ("full", 1.0)];
        assert_eq!(
            listed(""),
            all.map(|(address, load)| (address.into(), load))
        );
        assert_eq!(listed("south"), [("far".to_owned(), 0.02)]);
        assert_eq!(listed("east"), []);
    }

    #[test]
    fn who_is_sent_away_is_told_others_those_nearby_first() {
        assert_eq!(known().elsewhere(), ["near", "full", "far"]);
        assert!(Gateways::default().elsewhere().is_empty());
    }

    #[test]
    fn who_has_no_public_address_says_nothing() {
        assert_eq!(own(&GatewayOptions::default(), 1, false), None);
    }
}
