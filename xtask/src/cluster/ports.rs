//! Ports of the cluster's processes.
//!
//! Invariant: two processes of one plan never get the same port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::check::Failure;

/// The port of the first gateway, if it is free.
const GATEWAY_PORT: u16 = 7447;

/// Ports that are free, held until all are chosen.
#[derive(Default)]
pub struct FreePorts {
    held: Vec<TcpListener>,
    gateways: u16,
}

impl FreePorts {
    /// Any free one.
    pub fn any(&mut self) -> Result<u16, Failure> {
        self.wanted(0)
    }

    /// Gateways have well-known ones, if they are free.
    pub fn for_service(&mut self, service: &str) -> Result<u16, Failure> {
        if service != "gateway" {
            return self.any();
        }
        self.gateways += 1;
        self.wanted(GATEWAY_PORT + 10 * (self.gateways - 1))
    }

    fn wanted(&mut self, port: u16) -> Result<u16, Failure> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(at(port)).or_else(|_| TcpListener::bind(at(0)))?;
        let chosen = listener.local_addr()?.port();
        self.held.push(listener);
        Ok(chosen)
    }
}
