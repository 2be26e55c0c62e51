//! What an operator may set of pushes; each bound with its default and its policy when full.

use std::net::SocketAddr;
use std::path::PathBuf;

use heddle_kit::link::OutboxOptions;
use heddle_kit::run::ProcessConfig;
use heddle_kit::tls::TlsOptions;
use heddle_kit::{LayerOptions, ProcessOptions, ServeOptions};

heddle_kit::config! {
    /// How one provider is used.
    pub struct LaneConfig {
        /// Pushes that may be in hand, those between two tries included; intents on top are
        /// answered "send again later".
        pub pushes_max: usize = 10_000,
        /// Pushes that are being sent at once; the others wait.
        pub concurrency_max: usize = 64,
        /// The provider's answer to one push is waited for this long (milliseconds).
        pub send_timeout_ms: u64 = 10_000,
        /// Tries of one push before it becomes a dead letter.
        pub tries_max: u32 = 12,
        /// The pause after the first failed try (milliseconds); it doubles with each try.
        pub backoff_base_ms: u64 = 1_000,
        /// The longest pause of our own choice (milliseconds).
        pub backoff_max_ms: u64 = 300_000,
    }
}

heddle_kit::config! {
    /// Pushes to devices that are not there.
    pub struct NotifyConfig {
        /// Where the log provider also writes each push, as a line of JSON; none means nowhere.
        pub log_file: Option<PathBuf> = None,
        /// Settled pushes whose outcome is remembered; the oldest are forgotten first, and a
        /// repetition of one forgotten is sent again.
        pub settled_max: usize = 16_384,
        /// Dead letters that are kept in memory; the oldest are forgotten first. Each is logged.
        pub dead_letters_max: usize = 1_000,
    sections
        /// How the log provider is used.
        pub log: LaneConfig,
        /// How much may wait to be written to one shard; more ends its stream, and it sends
        /// again what is not settled.
        pub outbox: OutboxOptions,
    }
}

heddle_kit::config! {
    /// The push service as a process of its own.
    pub struct NotifyProcess {
        /// Where chat nodes connect.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7451)),
    sections
        /// Pushes to devices that are not there.
        pub notify: NotifyConfig,
        /// The process around the service.
        pub process: ProcessOptions,
        /// How HTTP is spoken to chat nodes.
        pub serve: ServeOptions,
        /// Certificates between services; needed where others than this machine can connect.
        pub tls: TlsOptions,
        /// What stands in front of the handlers.
        pub layers: LayerOptions,
    }
}

impl ProcessConfig for NotifyProcess {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }
}
