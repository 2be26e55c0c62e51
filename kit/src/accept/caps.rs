//! Caps: how many connections there are, in total and from each address.
//!
//! [`super::Incoming`] asks before a handshake begins; a [`Place`] is given back by its drop, at
//! the latest when the connection is closed.
//!
//! Invariant: the counts equal the number of places that exist, and never pass the caps.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Refusal;

/// The counts of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionCaps(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total_max: usize,
    per_address_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place among those that are allowed.
#[derive(Debug)]
pub(super) struct Place {
    caps: ConnectionCaps,
    address: IpAddr,
}

impl ConnectionCaps {
    pub(super) fn new(total_max: usize, per_address_max: usize) -> Self {
        Self(Arc::new(Shared {
            total_max,
            per_address_max,
            counts: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, Refusal> {
        let address = network(address);
        let mut counts = self.lock();
        if counts.total >= self.0.total_max {
            return Err(Refusal::TooMany);
        }
        let from_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if from_address >= self.0.per_address_max {
            return Err(Refusal::TooManyFromAddress);
        }
        counts.total += 1;
        counts.by_address.insert(address, from_address + 1);
        Ok(Place {
            caps: self.clone(),
            address,
        })
    }

    #[cfg(test)]
    fn total(&self) -> usize {
        self.lock().total
    }
}

/// What counts as one address: for IPv6 its /64, since whoever has one address has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.caps.lock();
        counts.total -= 1;
        if let Some(from_address) = counts.by_address.get_mut(&self.address) {
            *from_address -= 1;
            if *from_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[test]
    fn one_network_is_one_address() {
        let parsed = |text: &str| network(text.parse().unwrap());
        assert_eq!(parsed("2001:db8::1"), parsed("2001:db8::ffff:0:0:2"));
        assert_ne!(parsed("2001:db8::1"), parsed("2001:db8:0:1::1"));
        assert_eq!(parsed("::ffff:10.0.0.1"), parsed("10.0.0.1"));
        assert_ne!(parsed("10.0.0.1"), parsed("10.0.0.2"));
    }

    proptest! {
        /// Whoever comes and goes, no cap is passed and nothing is left behind.
        #[test]
        fn caps_hold_and_places_come_back(
            steps in prop::collection::vec((0u8..4, any::<bool>()), 0..200)
        ) {
            let caps = ConnectionCaps::new(6, 2);
            let mut places: Vec<Place> = Vec::new();
            for (host, leaves) in steps {
                let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
                if leaves {
                    places.retain(|place| place.address != address);
                } else {
                    let from_address = places.iter().filter(|p| p.address == address).count();
                    let entered = caps.enter(address);
                    prop_assert_eq!(entered.is_ok(), places.len() < 6 && from_address < 2);
                    places.extend(entered);
                }
                prop_assert_eq!(caps.total(), places.len());
            }
            drop(places);
            prop_assert!(caps.lock().by_address.is_empty());
        }
    }
}
