//! What an operator may set of presence; each bound with its default and its policy when full.

use std::net::SocketAddr;
use std::path::PathBuf;

use heddle_kit::link::OutboxOptions;
use heddle_kit::run::ProcessConfig;
use heddle_kit::tls::TlsOptions;
use heddle_kit::{LayerOptions, ProcessOptions, ServeOptions};

use crate::rules::Timing;

heddle_kit::config! {
    /// Who is online, and who hears of it.
    pub struct PresenceConfig {
        /// The data directory; what survives a restart lies in `presence` below it.
        pub data_dir: PathBuf = "heddle-data".into(),
        /// A session counts as alive for this long after its last report (milliseconds).
        pub ttl_ms: u64 = 45_000,
        /// Nobody is announced offline before being absent for this long (milliseconds).
        pub offline_grace_ms: u64 = 5_000,
        /// How often what is due to a gateway is looked for (milliseconds).
        pub tick_ms: u64 = 500,
        /// Each watched user is looked up at least this often, whatever hints say (milliseconds).
        pub recheck_ms: u64 = 10_000,
        /// Users who are remembered. Past it, who was seen least recently is forgotten first.
        pub users_max: usize = 200_000,
        /// Users whom one gateway may watch; changes of those on top are not announced.
        pub watched_max: usize = 200_000,
        /// Frames of a gateway that may wait; one more ends its stream, and it reports anew.
        pub frames_waiting_max: usize = 1024,
        /// How often what changed is written down (milliseconds); a crash loses as much.
        pub snapshot_interval_ms: u64 = 10_000,
    sections
        /// How much may wait to be written to one gateway.
        pub outbox: OutboxOptions,
    }
}

impl PresenceConfig {
    /// The times that the rules go by.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            ttl_ms: self.ttl_ms,
            grace_ms: self.offline_grace_ms,
        }
    }
}

heddle_kit::config! {
    /// The presence service as a process of its own.
    pub struct PresenceProcess {
        /// Where gateways connect.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7450)),
    sections
        /// Who is online, and who hears of it.
        pub presence: PresenceConfig,
        /// The process around the service.
        pub process: ProcessOptions,
        /// How HTTP is spoken to gateways.
        pub serve: ServeOptions,
        /// Certificates; gateways must show one where there is an authority and it is required.
        pub tls: TlsOptions,
        /// What stands in front of the handlers.
        pub layers: LayerOptions,
    }
}

impl ProcessConfig for PresenceProcess {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }
}
