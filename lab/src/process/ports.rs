//! Ports of 127.0.0.1 for servers that must keep theirs over restarts.
//!
//! The kernel gives ports from 32768 up to whoever connects to anywhere, so one of those may be
//! taken while its server is being started again. These lie below, and each is locked in a file
//! for as long as this process runs: others that measure on this machine take different ones.
//!
//! Invariant: a port is given once.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Below the ports of outgoing connections (`ip_local_port_range`), above well-known ones.
const PORTS: Range<u16> = 12_000..32_000;
/// How many are looked at before none counts as free.
const TRIES: u16 = 1_000;

/// Locks of the ports that were given.
static GIVEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody listens on and that nobody else is given while this process runs.
pub fn free_port() -> io::Result<u16> {
    let locks = std::env::temp_dir().join("heddle-ports");
    fs::create_dir_all(&locks)?;
    let (width, start) = (PORTS.end - PORTS.start, rand::random::<u16>());
    for step in 0..TRIES {
        let port = PORTS.start + start.wrapping_add(step) % width;
        if let Some(lock) = lock(&locks, port)?
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
            given.push(lock);
            return Ok(port);
        }
    }
    let text = format!("{TRIES} ports of {PORTS:?} from {start} on are all taken");
    Err(io::Error::new(io::ErrorKind::AddrInUse, text))
}

/// None: somebody else has it.
fn lock(locks: &Path, port: u16) -> io::Result<Option<File>> {
    let mut options = File::options();
    let file = options
        .create(true)
        .append(true)
        .open(locks.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_port_is_given_once_and_lies_below_those_of_connections() {
        let ports: BTreeSet<_> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }

    #[test]
    fn what_another_has_locked_is_not_taken() {
        let locks = tempfile::tempdir().unwrap();
        let first = lock(locks.path(), PORTS.start).unwrap();
        assert!(first.is_some());
        assert!(lock(locks.path(), PORTS.start).unwrap().is_none());
        drop(first);
        assert!(lock(locks.path(), PORTS.start).unwrap().is_some());
    }
}
