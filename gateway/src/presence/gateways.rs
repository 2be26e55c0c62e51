//! Gateways: where else clients can go.
//!
//! This gateway says of itself what clients may know, every few seconds, to presence-svc, which
//! answers with all that live. Discovery tells it to clients, and so does a GoAway.
//!
//! Invariant: a gateway that drains is named to nobody. A list that is old is still told: an
//! address that does not answer costs a client one try.

use crate::config::GatewayOptions;
use heddle_proto::{internal::GatewayStatus, v1};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Addresses that a GoAway names at most.
const ADDRESSES_MAX: usize = 3;

/// The gateways that were heard of last.
#[derive(Default)]
pub struct Gateways(Mutex<Known>);

/// Sorted out when they are heard of: a drain names them to all sessions at once.
#[derive(Default)]
struct Known {
    /// Those that take sessions; those behind one address are one, as clients see it.
    open: Vec<GatewayStatus>,
    /// Where a client of this gateway may go instead, those of its region first.
    elsewhere: Vec<String>,
}

/// What a gateway says of itself. Without an address it is listed nowhere, and still hears when its
/// reports were forgotten.
pub fn own(
    options: &GatewayOptions,
    gateway_id: &str,
    sessions: usize,
    draining: bool,
) -> GatewayStatus {
    GatewayStatus {
        address: options.public_url.clone().unwrap_or_default(),
        region: options.region.clone(),
        sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        sessions_max: options.sessions_max,
        draining,
        gateway_id: gateway_id.to_owned(),
    }
}

impl Gateways {
    /// All that live; `own_id` is this one. Another behind its own address is elsewhere too: a
    /// balancer sends nobody to one that drains.
    pub fn learn(&self, gateways: Vec<GatewayStatus>, options: &GatewayOptions, own_id: &str) {
        let listed = |it: &GatewayStatus| !it.draining && !it.address.is_empty();
        let listed: Vec<_> = gateways.into_iter().filter(listed).collect();
        let is_other = |it: &GatewayStatus| match it.gateway_id.is_empty() {
            true => options.public_url.as_ref() != Some(&it.address),
            false => it.gateway_id != own_id,
        };
        let mut others = by_address(listed.iter().filter(|it| is_other(it)));
        others.sort_by_key(|other| other.region != options.region);
        let nearest = others.into_iter().take(ADDRESSES_MAX);
        *self.known() = Known {
            open: by_address(listed.iter()),
            elsewhere: nearest.map(|other| other.address).collect(),
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

/// One for each address, with the sessions of all behind it; the least loaded first.
fn by_address<'a>(gateways: impl Iterator<Item = &'a GatewayStatus>) -> Vec<GatewayStatus> {
    let mut places: BTreeMap<(&str, &str), GatewayStatus> = BTreeMap::new();
    for gateway in gateways {
        let place = places.entry((&gateway.address, &gateway.region));
        place
            .and_modify(|place| {
                place.sessions = place.sessions.saturating_add(gateway.sessions);
                place.sessions_max = place.sessions_max.saturating_add(gateway.sessions_max);
            })
            .or_insert_with(|| gateway.clone());
    }
    let mut places: Vec<_> = places.into_values().collect();
    places.sort_by(|one, other| load(one).total_cmp(&load(other)));
    places
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
            gateway_id: address.into(),
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
        gateways.learn(all, &options, "me");
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
    fn gateways_behind_one_address_are_one_and_the_others_behind_it_are_elsewhere() {
        let options = GatewayOptions {
            public_url: Some("balancer".into()),
            ..Default::default()
        };
        let behind = |gateway_id: &str, sessions, draining| GatewayStatus {
            gateway_id: gateway_id.into(),
            ..gateway("balancer", "", sessions, draining)
        };
        let gateways = Gateways::default();
        let all = vec![behind("me", 30, false), behind("other", 10, false)];
        gateways.learn(all, &options, "me");
        assert_eq!(gateways.elsewhere(), ["balancer"]);
        let load: Vec<f64> = gateways.list("").iter().map(|it| it.load).collect();
        assert_eq!(load, [0.2]);
        // Alone there is nowhere to go, and an older build is told by its address.
        let older = gateway("balancer", "", 1, false);
        let older = GatewayStatus {
            gateway_id: String::new(),
            ..older
        };
        let all = vec![behind("me", 30, true), behind("other", 10, true), older];
        gateways.learn(all, &options, "me");
        assert!(gateways.elsewhere().is_empty());
    }

    #[test]
    fn who_has_no_public_address_is_not_listed() {
        let own = own(&GatewayOptions::default(), "me", 1, false);
        let gateways = Gateways::default();
        gateways.learn(vec![own], &GatewayOptions::default(), "other");
        assert!(gateways.list("").is_empty() && gateways.elsewhere().is_empty());
    }
}
