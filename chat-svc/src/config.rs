//! Settings of chat-svc: every bound has a name and a default here.

use heddle_kit::{
    LayerOptions, LinkOptions, ProcessOptions, ServeOptions,
    link::check_urls,
    run::{ProcessConfig, StartError},
    tls::{Inside, TlsOptions},
};
use std::net::SocketAddr;

/// Shards at most.
const SHARDS_MAX: u32 = 1024;
/// Those of a cluster that is told no number: one group of epochs, which is raised by one write.
const SHARDS_OF_A_CLUSTER: u32 = 64;

heddle_kit::config! {
    /// Order and fan-out.
    pub struct ChatConfig {
        /// Name of this node, the same after a restart; none: its address.
        pub node: Option<String> = None,
        /// Shards in all, the same on all nodes, for good; 0: 64 in a cluster, as many as cores in
        /// one process. Never more than 1024.
        pub shards: u32 = 0,
        /// How long this node's lease lasts, in milliseconds: a node that is not heard of for so
        /// long owns nothing.
        pub lease_ms: u32 = 3_000,
        /// How often the lease is renewed, in milliseconds.
        pub lease_renewal_ms: u64 = 1_000,
        /// How long a node that drains waits for others to take its shards, in milliseconds.
        pub leave_max_ms: u64 = 2_500,
        /// Frames of commands that may wait for one shard; what comes on top is refused.
        pub queue_len_max: usize = 1024,
        /// Members of a group.
        pub group_members_max: usize = 100,
        /// How long a device may take to acknowledge before it is pushed to, in milliseconds.
        pub push_grace_ms: u64 = crate::mailbox::push::PUSH_GRACE_MS,
        /// A conversation has one push to a device in so long, in milliseconds: what comes
        /// meanwhile is in the next one.
        pub push_window_ms: u64 = crate::mailbox::push::PUSH_WINDOW_MS,
        /// Pushes name who wrote, or where; off: providers learn neither.
        pub push_titles: bool = true,
        /// Pushes show text, on devices that do not hide it; off: none leaves the server with them.
        pub push_previews: bool = true,
        /// How often a member's marks in a conversation are stored at most, in milliseconds.
        pub mark_interval_ms: u64 = 1_000,
        /// How often heads of mailboxes are told to gateways, in milliseconds.
        pub heads_interval_ms: u64 = 5_000,
        /// Length of a window of notes, in milliseconds: what a take-over replays at least.
        pub note_window_ms: u32 = 5_000,
        /// Conversations, and as many mailboxes, that a shard keeps in memory.
        pub logs_max: usize = 50_000,
        /// Commands and events that may wait for one log to be loaded.
        pub waiting_max: usize = 4_096,
        /// Reads that may be under way at once, over all shards; history-svc takes twice as many.
        pub reads_max: usize = 2_048,
    }
}

impl ChatConfig {
    /// As a node of a cluster has it: no two machines have to have as many cores.
    #[must_use]
    pub fn of_a_cluster(mut self) -> Self {
        if self.shards == 0 {
            self.shards = SHARDS_OF_A_CLUSTER;
        }
        self
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        let count = if self.shards == 0 { cores } else { self.shards };
        count.clamp(1, SHARDS_MAX)
    }

    /// Reads of one shard that may be under way at once.
    pub fn reads_per_shard(&self) -> usize {
        (self.reads_max / self.shard_count() as usize).max(1)
    }
}

heddle_kit::config! {
    /// chat-svc as a process of its own.
    pub struct ChatProcess {
        /// Where gateways and other chat nodes connect.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7448)),
        /// Where other chat nodes reach this one; none: where it listens.
        pub advertise_url: Option<String> = None,
        /// Where history-svc is: each process; one is used, another when it fails.
        pub history_urls: Vec<String> = vec!["http://127.0.0.1:7449".into()],
        /// Where notify-svc is: each process; one is used, another when it fails.
        pub notify_urls: Vec<String> = vec!["http://127.0.0.1:7451".into()],
    sections
        /// Order and fan-out.
        pub chat: ChatConfig,
        /// The process around the service.
        pub process: ProcessOptions,
        /// How HTTP is spoken to gateways.
        pub serve: ServeOptions,
        /// What stands in front of the handlers.
        pub layers: LayerOptions,
        /// How other services are reached.
        pub link: LinkOptions,
        /// Certificates between services; needed where others than this machine can connect.
        pub tls: TlsOptions,
    }
}

impl ProcessConfig for ChatProcess {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }

    fn check(&self) -> Result<(), StartError> {
        Inside::check(&self.tls, self.listen)?;
        check_urls("history_urls", &self.history_urls, &self.tls)?;
        check_urls("notify_urls", &self.notify_urls, &self.tls)?;
        Ok(())
    }
}
