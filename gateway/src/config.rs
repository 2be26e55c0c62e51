//! Config: the gateway's settings, their defaults and their units.
//!
//! Limits are told to each session when it opens; what is enforced is what was told.

use crate::{
    auth::AuthOptions,
    limits::{AdmissionOptions, RateOptions},
};
use heddle_proto::v1;

heddle_kit::config! {
    /// Bounds on what clients send and hold.
    pub struct LimitOptions {
        /// Unicode scalar values of a text.
        pub text_chars_max: u32 = 100_000,
        /// Bytes of a text.
        pub text_bytes_max: u32 = 400_000,
        /// Members of a group.
        pub group_members_max: u32 = 100,
        /// Requests of a session that may wait for an answer.
        pub in_flight_max: u32 = 64,
        /// Bytes sent to a session and not acknowledged.
        pub unacknowledged_bytes_max: u32 = 48 * 1024,
        /// Bytes of a signal.
        pub signal_bytes_max: u32 = 4096,
        /// Days in which a retry is told apart.
        pub retry_window_days: u32 = 7,
    }
}

heddle_kit::config! {
    /// gRPC-Web for browsers.
    pub struct WebOptions {
        /// Origins that may call; `*` allows all, none allows none.
        pub origins: Vec<String> = Vec::new(),
    }
}

heddle_kit::config! {
    /// The edge: sessions and the public API.
    pub struct GatewayOptions {
        /// How long a new stream may take to say hello (milliseconds).
        pub hello_timeout_ms: u64 = 5_000,
        /// How often a device in the foreground pings (milliseconds); two missed end its session.
        pub heartbeat_interval_ms: u64 = 60_000,
        /// How long a command waits for its log's new owner (milliseconds).
        pub hold_max_ms: u64 = 5_000,
        /// Commands that may wait for new owners in all.
        pub held_commands_max: usize = 65_536,
        /// Sessions that may read from the store at once; the others wait in turn.
        pub catch_up_reads_max: usize = 64,
        /// Devices that are sent away come back within this time, spread evenly (milliseconds).
        pub return_spread_ms: u64 = 3_000,
        /// How often the presence of all sessions is refreshed (milliseconds).
        pub presence_refresh_ms: u64 = 15_000,
        /// How long open sessions may take to end in a drain (milliseconds): longer by two seconds
        /// than they take to come back, and less than half of the process's grace.
        pub drain_max_ms: u64 = 5_000,
        /// A session that has been open for so long is asked to come back, here or at another
        /// gateway, up to a tenth earlier at random (milliseconds); 0: never.
        pub session_age_max_ms: u64 = 43_200_000,
        /// Where clients reach this gateway, a URL, its own or that of a balancer before several:
        /// told to clients that other gateways send away or that ask for gateways; none: it is not
        /// listed, and who is sent away has nowhere to go meanwhile.
        pub public_url: Option<String> = None,
        /// Where this gateway is, as clients ask for it.
        pub region: String = String::new(),
        /// Sessions that this gateway is made for: says how loaded it is.
        pub sessions_max: u32 = 50_000,
        /// How often the gateway sends a message through itself, between two users of its own, to
        /// see that it arrives (milliseconds); 0: never. A metric and an alarm, never readiness.
        pub canary_interval_ms: u64 = 10_000,
        /// How long each step of such a message may take before it counts as lost (milliseconds).
        pub canary_timeout_ms: u64 = 10_000,
        /// A drill: while this file is there, live deliveries are dropped, and devices read from
        /// the store what they miss, within a heartbeat; none: nothing is ever dropped so.
        pub drop_deliveries_file: Option<String> = None,
    sections
        /// How many sessions may open at once.
        pub admission: AdmissionOptions,
        /// Who may call.
        pub auth: AuthOptions,
        /// Bounds on what clients send and hold.
        pub limits: LimitOptions,
        /// How often users and devices may call.
        pub rates: RateOptions,
        /// gRPC-Web for browsers.
        pub web: WebOptions,
    }
}

impl LimitOptions {
    /// The limits as a session is told them.
    pub fn to_wire(&self) -> v1::Limits {
        v1::Limits {
            text_chars_max: self.text_chars_max,
            text_bytes_max: self.text_bytes_max,
            group_members_max: self.group_members_max,
            in_flight_max: self.in_flight_max,
            unacknowledged_bytes_max: self.unacknowledged_bytes_max,
            signal_bytes_max: self.signal_bytes_max,
            retry_window_days: self.retry_window_days,
        }
    }
}
