//! Hops: which part of a message's way a sampled stack belongs to.
//!
//! Reads what `perf script -F comm,ip,sym` prints. Pure. Invariant: each sample counts for exactly
//! one hop, the first of the table that it fits.

use std::collections::BTreeMap;

/// A hop, in the order of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// HTTP/2 and the socket, both ways.
    Transport,
    /// Frames of devices: validation, windows, answers.
    Session,
    /// Streams between services: protobuf there and back, outboxes, routing.
    Links,
    /// Deciding about a conversation, forming and finishing batches.
    Shard,
    /// Mailboxes: positions, entries, lists.
    FanOut,
    /// The writer's thread and the engine's own.
    Store,
    /// Threads that look for work or go to sleep, and what fits nothing else.
    Runtime,
}

/// A stack with one of these in a frame's name belongs to the hop; the first that fits counts.
const FRAMES: [(Hop, &[&str]); 5] = [
    (
        Hop::FanOut,
        &[
            "heddle_chat::mailbox",
            "heddle_chat::shard::mailbox",
            "heddle_chat::shard::fan_out",
        ],
    ),
    (
        Hop::Shard,
        &["heddle_chat::shard", "heddle_chat::conversation"],
    ),
    (
        Hop::Transport,
        &[
            "hyper::server::conn",
            "hyper::proto::h2",
            "h2::server",
            "h2::proto",
        ],
    ),
    (
        Hop::Session,
        &[
            "heddle_gateway::session",
            "heddle_gateway::validate",
            "heddle_gateway::commands",
            "heddle_gateway::timers",
        ],
    ),
    (
        Hop::Links,
        &[
            "heddle_gateway",
            "heddle_chat",
            "heddle_history",
            "heddle_kit::link",
            "tonic::codec",
            "prost::",
        ],
    ),
];

/// Threads of the store.
const STORE_THREADS: [&str; 2] = ["store-writer", "fjall"];

/// Samples by hop.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<Hop, u64>);

impl Samples {
    /// Counts the samples that a script holds: blocks of a thread's name and its frames, innermost
    /// first, with an empty line after each.
    pub fn of_script(script: &str) -> Samples {
        let mut samples = Samples::default();
        for block in script.split("\n\n") {
            let mut lines = block.lines().filter(|line| !line.trim().is_empty());
            if let Some(thread) = lines.next() {
                let frames: Vec<&str> = lines.collect();
                *samples.0.entry(hop(thread.trim(), &frames)).or_default() += 1;
            }
        }
        samples
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each hop with its share of all.
    pub fn shares(&self) -> impl Iterator<Item = (Hop, f64)> {
        let total = self.total().max(1) as f64;
        self.0
            .iter()
            .map(move |(hop, count)| (*hop, *count as f64 / total))
    }
}

fn hop(thread: &str, frames: &[&str]) -> Hop {
    if STORE_THREADS.iter().any(|store| thread.starts_with(store)) {
        return Hop::Store;
    }
    let holds = |needle: &&str| frames.iter().any(|frame| frame.contains(needle));
    let found = FRAMES.iter().find(|(_, needles)| needles.iter().any(holds));
    found.map_or(Hop::Runtime, |(hop, _)| *hop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
tokio-rt-worker
    55 __memmove
    66 <hyper::proto::h2::PipeToSendStream<S> as core::future::future::Future>::poll
    77 tokio::runtime::task::raw::poll

tokio-rt-worker
    11 heddle_chat::mailbox::list::List::enter
    12 heddle_chat::shard::Shard::on_store

store-writer
    21 fdatasync

tokio-rt-worker
    31 epoll_wait

";

    #[test]
    fn each_sample_counts_once() {
        let samples = Samples::of_script(SCRIPT);
        let hops: Vec<Hop> = samples.shares().map(|(hop, _)| hop).collect();
        let expected = [Hop::Transport, Hop::FanOut, Hop::Store, Hop::Runtime];
        assert_eq!((samples.total(), hops), (4, expected.to_vec()));
        assert!(samples.shares().all(|(_, share)| share == 0.25));
    }
}
