//! The server's time, as far as the client knows it, and ids minted on it.
//!
//! Shared by a client's sessions and calls; each answer that carries the server's time corrects it.
//! Ids must be minted on the server's time, since they are refused when they are ahead of it.

use heddle_proto::ids::MessageId;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How far the server's clock is from this machine's.
#[derive(Debug, Default)]
pub struct ServerClock {
    offset_ms: AtomicI64,
}

impl ServerClock {
    /// The server said that it is this late, in milliseconds since the Unix epoch.
    pub fn learn(&self, server_time_ms: u64) {
        let server = i64::try_from(server_time_ms).unwrap_or(i64::MAX);
        self.offset_ms
            .store(server.saturating_sub(local_ms()), Ordering::Relaxed);
    }

    /// The server's time now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        let now = local_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed));
        u64::try_from(now).unwrap_or(0)
    }

    /// A new id, minted on the server's time.
    pub fn mint(&self) -> MessageId {
        MessageId::mint(self.now_ms(), &rand::random())
    }
}

fn local_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_server_not_this_machine() {
        let clock = ServerClock::default();
        clock.learn(1_000_000);
        let minted = clock.mint().time_ms();
        assert!((1_000_000..1_010_000).contains(&minted), "{minted}");
        assert_ne!(clock.mint(), clock.mint());
    }
}
