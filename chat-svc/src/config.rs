//! Settings of chat-svc: every bound has a name and a default here.

heddle_kit::config! {
    /// Order and fan-out.
    pub struct ChatConfig {
        /// Name of this node; none: made up at each start.
        pub node: Option<String> = None,
        /// Shards in all; 0: as many as cores (one process), never more than 1024.
        pub shards: u32 = 0,
        /// Frames of commands that may wait for one shard; what comes on top is refused.
        pub queue_len_max: usize = 1024,
        /// Members of a group.
        pub group_members_max: usize = 100,
        /// How long a device may take to acknowledge before it is pushed to, in milliseconds.
        pub push_grace_ms: u64 = crate::mailbox::push::PUSH_GRACE_MS,
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
        /// Reads of a shard that may be under way at once.
        pub reads_max: usize = 1_024,
    }
}

impl ChatConfig {
    /// How many shards there are.
    pub fn shard_count(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        let count = if self.shards == 0 { cores } else { self.shards };
        count.clamp(1, 1024)
    }
}
