//! What an operator may set of presence; each bound with its default and its policy when full.

use std::net::SocketAddr;
use std::path::PathBuf;

use heddle_kit::config::Secret;
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
        /// Users who are remembered. Past it, who was seen least recently is forgotten first. In
        /// Redis its `maxmemory` says so instead, with the policy volatile-ttl.
        pub users_max: usize = 200_000,
        /// Users whom one gateway may watch; changes of those on top are not announced.
        pub watched_max: usize = 200_000,
        /// Frames of a gateway that may wait; one more ends its stream, and it reports anew.
        pub frames_waiting_max: usize = 1024,
        /// How often what changed is written down (milliseconds); a crash loses as much.
        pub snapshot_interval_ms: u64 = 10_000,
        /// Where Redis is, for several presence processes: redis://USER:PASSWORD@HOST:PORT, or
        /// rediss:// for TLS. Of several the first that is a master is used, and the next when it
        /// fails. None: presence is kept in this process, and the settings on Redis say nothing.
        pub redis_urls: Vec<Secret> = Vec::new(),
        /// The URLs name nodes of a Redis Cluster; the others are found by these.
        pub redis_cluster: bool = false,
        /// PEM file of the authority that signed Redis's certificates; none: the machine's.
        pub redis_ca: Option<PathBuf> = None,
        /// How long connecting to a Redis may take (milliseconds).
        pub redis_connect_timeout_ms: u64 = 2_000,
        /// How long Redis may take to answer (milliseconds); then the call fails.
        pub redis_response_timeout_ms: u64 = 800,
        /// Users in one command to Redis; more of them are several commands.
        pub redis_users_at_once_max: usize = 512,
        /// Days after which Redis forgets when a user was last seen. Statuses stay.
        pub redis_last_seen_days: u64 = 90,
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
        /// Certificates between services; needed where others than this machine can connect.
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
