//! Ports of the cluster's processes.
//!
//! The kernel gives ports from 32768 up to whoever connects to anywhere; one of those could be
//! taken while its process is away, so they are chosen below.
//!
//! Invariant: two processes of one plan never get the same port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

use crate::check::Failure;

/// The port of the first gateway, if it is free.
const GATEWAY_PORT: u16 = 7447;
/// Of all others: below those of outgoing connections (`ip_local_port_range`).
const PORTS: Range<u16> = 17_000..32_000;

/// Ports that are free, held until all are chosen. Whoever is to listen has to be started after
/// that.
#[derive(Default)]
pub struct FreePorts {
    held: Vec<TcpListener>,
    gateways: u16,
}

impl FreePorts {
    /// Any free one.
    pub fn any(&mut self) -> Result<u16, Failure> {
        let free = PORTS.into_iter().find(|port| self.hold(*port));
        let none = || Failure::wrong(format!("no port of {PORTS:?} is free on 127.0.0.1"));
        free.ok_or_else(none)
    }

    /// Gateways have well-known ones, if they are free.
    pub fn for_service(&mut self, service: &str) -> Result<u16, Failure> {
        if service != "gateway" {
            return self.any();
        }
        self.gateways += 1;
        let wanted = GATEWAY_PORT + 10 * (self.gateways - 1);
        if self.hold(wanted) {
            return Ok(wanted);
        }
        self.any()
    }

    /// Takes one that was chosen before; whether it is free.
    pub fn hold(&mut self, port: u16) -> bool {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let is_free = listener.is_ok();
        self.held.extend(listener);
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_chosen_once_and_free_afterwards() {
        let mut free = FreePorts::default();
        let (one, other) = (free.any().unwrap(), free.any().unwrap());
        assert!(one != other && PORTS.contains(&one) && PORTS.contains(&other));
        drop(free);
        assert!(FreePorts::default().hold(one));
    }
}
