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
        /// Pushes that are being sent at once to one origin (`host:port`) of endpoints that devices
        /// registered; others for it wait, and hold up none elsewhere. Nothing to APNs, FCM and the
        /// log. Where most browsers share one push service, more is sent faster.
        pub per_origin_max: usize = 16,
        /// Pushes that leave within a second; those above it wait. 0: no limit.
        pub rate_per_second_max: u32 = 0,
        /// Registrations with conversations whose newest push is remembered, so that an older one
        /// never follows it; those not used for longest are forgotten first, from half of this on.
        pub positions_max: usize = 16_384,
    }
}

heddle_kit::config! {
    /// Apple's push service.
    pub struct ApnsConfig {
        /// The key (.p8) that signs tokens; read again when it changes. None: not set up.
        pub key_file: Option<PathBuf> = None,
        /// The key's id, 10 characters.
        pub key_id: String = String::new(),
        /// The team's id, 10 characters.
        pub team_id: String = String::new(),
        /// The topic of registrations that name none: the app's bundle id.
        pub topic: String = String::new(),
        /// Other topics that registrations may name.
        pub topics: Vec<String> = Vec::new(),
        /// Where production tokens are sent.
        pub url: String = "https://api.push.apple.com".into(),
        /// Where sandbox tokens are sent.
        pub sandbox_url: String = "https://api.sandbox.push.apple.com".into(),
    sections
        /// How it is used.
        pub lane: LaneConfig,
    }
}

heddle_kit::config! {
    /// Firebase Cloud Messaging.
    pub struct FcmConfig {
        /// The service account's key file (JSON); read again when it changes. None: not set up.
        pub service_account_file: Option<PathBuf> = None,
        /// Where messages are sent.
        pub url: String = "https://fcm.googleapis.com".into(),
        /// Where access tokens are asked for; none means where the key file says.
        pub token_url: Option<String> = None,
    sections
        /// How it is used.
        pub lane: LaneConfig,
    }
}

heddle_kit::config! {
    /// Browsers' push services, or UnifiedPush distributors.
    pub struct WebPushConfig {
        /// The VAPID key (P-256, PKCS #8 PEM); read again when it changes. None: browsers are not
        /// set up, and posts to UnifiedPush distributors are not signed.
        pub vapid_key_file: Option<PathBuf> = None,
        /// Whom push services may write to: a mailto: or https: URL.
        pub subject: String = String::new(),
    sections
        /// How it is used.
        pub lane: LaneConfig,
    }
}

heddle_kit::config! {
    /// Pushes to devices that are not there.
    pub struct NotifyConfig {
        /// Where the log provider also writes each push, as a line of JSON; none means nowhere.
        pub log_file: Option<PathBuf> = None,
        /// Certificates (PEM) of authorities that providers' certificates may chain to, besides the
        /// machine's own.
        pub ca_file: Option<PathBuf> = None,
        /// Hosts with ports (`host:port`) that registered endpoints may name although they are
        /// not public, not https or not at port 443.
        pub endpoints_allowed: Vec<String> = Vec::new(),
        /// Connections to providers that are kept open; one more closes another.
        pub connections_max: usize = 256,
        /// Results of settled intents that are remembered, one for each registration; the oldest
        /// intents are forgotten first, and a repetition of one forgotten is sent again.
        pub settled_max: usize = 16_384,
    sections
        /// Apple's push service.
        pub apns: ApnsConfig,
        /// Firebase Cloud Messaging.
        pub fcm: FcmConfig,
        /// Browsers' push services.
        pub web_push: WebPushConfig,
        /// UnifiedPush distributors.
        pub unified_push: WebPushConfig,
        /// How webhooks are used.
        pub webhook: LaneConfig,
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
