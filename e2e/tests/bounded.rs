//! Bounded: who stops reading costs a bounded amount of memory, loses nothing, and slows nobody
//! (P6).

use heddle_e2e::{
    World,
    people::id_of,
    wire::{Device, Stream, message_of, mint, position_of, send_of},
    world::Failure,
};
use heddle_sdk::ConversationId;
use std::time::{Duration, Instant};
use tokio::time::interval;

const GROUPS: usize = 3;
const MEMBERS: usize = 20;
const ROUNDS: usize = 100;
const PACE: Duration = Duration::from_millis(100);
const BODY_BYTES: usize = 4096;
/// Half of what is due to all that do not read, 57 times 400 KiB; 57 windows of 48 KiB at the
/// server and of 16 KiB at the devices, which live in this process too, are 4 MiB.
const GROWTH_MAX_BYTES: u64 = 12 << 20;
/// The window of a stream that reads nothing: what the client's own side may hold back.
const STREAM_WINDOW_BYTES: usize = 16 << 10;

/// Memory of this process, server and devices together, in bytes.
fn resident_bytes() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no RSS")?.parse()?;
    Ok(pages * 4096)
}

fn body(group: usize, round: usize) -> String {
    format!("{:x<BODY_BYTES$}", format!("group {group} round {round} "))
}

/// A group of which all but its owner have an open session that has caught up and then is not read.
async fn stalled_group(
    world: &World,
    group: usize,
) -> Result<(Device, ConversationId, Vec<Stream>), Failure> {
    let names: Vec<_> = (1..MEMBERS)
        .map(|member| format!("g{group}m{member}"))
        .collect();
    let owner = Device::connect(world, &format!("owner {group}"), "phone").await?;
    let client = world.client(&owner.user_id, "setup").await?;
    let talk = id_of(&client.create_group("stalled", names.clone()).await?)?;
    let mut streams = Vec::new();
    for name in names {
        let device =
            Device::connect_windowed(world, &name, "phone", STREAM_WINDOW_BYTES as u32).await?;
        let mut stream = device.session(Some(Default::default())).await?;
        stream
            .until("the group", |frame| {
                position_of(frame).filter(|at| *at == 1)
            })
            .await;
        stream.ack(1).await?;
        streams.push(stream);
    }
    Ok((owner, talk, streams))
}

/// Sends to each group each 100 ms; the latencies of a pair beside them, in microseconds.
async fn talk_to(world: &World, groups: &[(Device, ConversationId)]) -> Result<Vec<u64>, Failure> {
    let ann = world.person("ann", "phone").await?;
    let mut ben = world.person("ben", "phone").await?;
    let pair = id_of(&ann.client.create_direct("ben").await?)?;
    let mut ticks = interval(PACE);
    let mut latencies = Vec::new();
    for round in 0..ROUNDS {
        ticks.tick().await;
        for (group, (owner, talk)) in groups.iter().enumerate() {
            let request = send_of(*talk, &mint(), &body(group, round));
            owner.messaging().send_message(request).await?;
        }
        let begun = Instant::now();
        ann.say(pair, &format!("beside {round}")).await?;
        ben.hears(&format!("beside {round}")).await;
        latencies.push(begun.elapsed().as_micros() as u64);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// Reads on, acknowledging; all of the group's messages, in order, each once.
async fn reads_all(mut stream: Stream, group: usize) -> Result<(), Failure> {
    let mut next = 0;
    while next < ROUNDS {
        let Some(frame) = stream.next().await else {
            return Err(format!("group {group}: the session ended before round {next}").into());
        };
        if let Some((_, words)) = message_of(&frame) {
            assert_eq!(words, body(group, next));
            next += 1;
        }
        if let Some(position) = position_of(&frame) {
            stream.ack(position).await?;
        }
    }
    Ok(())
}

/// Three groups of twenty whose members stop reading, ten messages of 4 KiB a second to each for
/// ten seconds: memory grows by a bounded amount, a pair beside them is not held up, and who reads
/// again misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_costs_little_and_loses_nothing() -> Result<(), Failure> {
    let world = World::start().await?;
    let (mut owners, mut stalled) = (Vec::new(), Vec::new());
    for group in 0..GROUPS {
        let (owner, talk, streams) = stalled_group(&world, group).await?;
        owners.push((owner, talk));
        stalled.extend(streams.into_iter().map(|stream| (group, stream)));
    }
    // A talk of its own warms the store up, so that its first tables are not taken for what is
    // held.
    let warm = stalled_group(&world, GROUPS).await?;
    talk_to(&world, &[(warm.0, warm.1)]).await?;
    drop(warm.2);
    let before = resident_bytes()?;
    let latencies = talk_to(&world, &owners).await?;
    let growth = resident_bytes()?.saturating_sub(before);
    assert!(growth <= GROWTH_MAX_BYTES, "grew by {growth} bytes");
    let p95 = latencies[ROUNDS * 95 / 100];
    assert!(p95 < 500_000, "p95 of a pair beside: {p95} us");
    for (group, stream) in stalled {
        reads_all(stream, group).await?;
    }
    world.stop().await;
    Ok(())
}
