//! Carries a plan out: connect everyone, warm up, measure, wait for the rest, add up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::pacer::{self, DUE_MAX, Paced};
use super::seat::{SeatLoop, Shared, Tally};
use super::{ChatTransport, Endpoint, LoadReport, Pace, Plan, Seat, SeatPlan, TransportError};
use crate::measure::{ProcessStat, ScrapeError, StatError};

/// Sessions that are being opened at once, at most.
const CONNECTING_MAX: usize = 32;
/// From the last session's opening to the first send.
const LEAD: Duration = Duration::from_millis(50);
/// How often is looked whether all has arrived.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A session failed.
    #[error("a session failed: {0}")]
    Transport(#[from] TransportError),
    /// The server's process can't be measured.
    #[error(transparent)]
    Stat(#[from] StatError),
    /// A server's metrics can't be read.
    #[error(transparent)]
    Scrape(#[from] ScrapeError),
    /// A task of the driver itself failed.
    #[error("the load driver failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Opens a session for each seat, in order of the seats.
pub async fn connect_all<T: ChatTransport>(
    transport: &T,
    seats: &[Seat],
) -> Result<Vec<T::Endpoint>, TransportError> {
    let connecting = stream::iter(seats).map(|seat| transport.connect(seat));
    connecting.buffered(CONNECTING_MAX).try_collect().await
}

/// What is looked at when the measured time begins, and again when it ends.
pub trait Watch: Sync {
    /// What is seen.
    type Sight: Send;

    /// Looks now. Sends go on meanwhile, so it should not take long.
    fn look(&self) -> impl Future<Output = Result<Self::Sight, LoadError>> + Send;
}

/// The server's process, if it is known.
struct OneProcess(Option<u32>);

impl Watch for OneProcess {
    type Sight = Option<ProcessStat>;

    async fn look(&self) -> Result<Self::Sight, LoadError> {
        Ok(self.0.map(ProcessStat::of).transpose()?)
    }
}

/// Carries a plan out. Fails as soon as any session does.
pub async fn run<T: ChatTransport>(transport: &T, plan: &Plan) -> Result<LoadReport, LoadError> {
    let watch = OneProcess(plan.server_pid);
    let (mut report, (before, after)) = run_watched(transport, plan, &watch).await?;
    if let Some((before, after)) = before.zip(after) {
        let cpu_per = |items| Some(after.cpu_us_per(&before, items));
        report.server_cpu_us_per_message = cpu_per(report.stored_in_window);
        report.server_cpu_us_per_delivery = cpu_per(report.delivered_in_window);
    }
    Ok(report)
}

/// The same, with what was seen at the beginning and at the end of the measured time.
pub async fn run_watched<T: ChatTransport, W: Watch>(
    transport: &T,
    plan: &Plan,
    watch: &W,
) -> Result<(LoadReport, (W::Sight, W::Sight)), LoadError> {
    let seats: Vec<Seat> = plan.seats.iter().map(|seat| seat.seat.clone()).collect();
    let endpoints = connect_all(transport, &seats).await?;
    let shared = Arc::new(Shared::starting(Instant::now() + LEAD, plan));
    // Whatever way this function ends, the pacer and the seats do, too.
    let _done = shared.done.clone().drop_guard();
    let mut paced = Vec::new();
    let mut tasks = JoinSet::new();
    for (endpoint, plan) in endpoints.into_iter().zip(&plan.seats) {
        tasks.spawn(seat_loop(endpoint, plan, &shared, &mut paced).run());
    }
    let (start, end) = (shared.epoch, shared.measure_to);
    let stop_pacer = shared.done.clone();
    let pacer = tokio::task::spawn_blocking(move || pacer::run(&paced, start, end, &stop_pacer));

    let seen = tokio::select! {
        seen = conduct(&shared, plan, watch) => seen?,
        Some(ended) = tasks.join_next() => {
            // Seats end only after `done`, so this one has failed.
            ended??;
            return Err(TransportError::new("a seat ended early").into());
        }
    };
    let mut total = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        total.add(&tally??);
    }
    pacer.await?;
    Ok((report(&shared, &total), seen))
}

/// Holds so many idle sessions, each alone in its room and reading, until `stop`. `opened` is
/// called when all are open. Fails when one of them ends.
pub async fn hold_idle<T: ChatTransport>(
    transport: &T,
    sessions: u32,
    opened: impl FnOnce(),
    stop: CancellationToken,
) -> Result<(), LoadError> {
    let seats: Vec<Seat> = (0..sessions)
        .map(|index| {
            let (name, room) = (format!("idle-{index}"), format!("idle-{index}"));
            Seat {
                name,
                room,
                peers: 0,
            }
        })
        .collect();
    let mut tasks = JoinSet::new();
    for mut endpoint in connect_all(transport, &seats).await? {
        tasks.spawn(async move {
            loop {
                if let Err(error) = endpoint.next().await {
                    return error;
                }
            }
        });
    }
    opened();
    // Dropping the set ends the sessions.
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        Some(ended) = tasks.join_next() => Err(LoadError::Transport(ended?)),
    }
}

fn seat_loop<E: Endpoint>(
    endpoint: E,
    plan: &SeatPlan,
    shared: &Arc<Shared>,
    paced: &mut Vec<Paced>,
) -> SeatLoop<E> {
    let (in_flight_target, due) = match plan.pace {
        Pace::InFlight(target) => (target, None),
        Pace::Silent => (0, None),
        Pace::Every { interval, offset } => {
            let (due, heard) = mpsc::channel(DUE_MAX);
            paced.push(Paced {
                interval,
                offset,
                due,
            });
            (0, Some(heard))
        }
    };
    SeatLoop {
        endpoint,
        shared: Arc::clone(shared),
        peers: plan.seat.peers,
        in_flight_target,
        due,
        in_flight: HashMap::new(),
        next_id: 0,
        tally: Tally::default(),
    }
}

/// The run's course in time; the answer is what was seen around the measured time.
async fn conduct<W: Watch>(
    shared: &Shared,
    plan: &Plan,
    watch: &W,
) -> Result<(W::Sight, W::Sight), LoadError> {
    sleep_until(shared.measure_from.into()).await;
    let before = watch.look().await?;
    sleep_until(shared.measure_to.into()).await;
    let after = watch.look().await?;
    shared.stop_sending.cancel();
    let deadline = Instant::now() + plan.drain_max;
    // A look at least: what the pacer handed out last may not be sent yet.
    sleep(DRAIN_POLL).await;
    while !shared.is_complete() && Instant::now() < deadline {
        sleep(DRAIN_POLL).await;
    }
    shared.done.cancel();
    Ok((before, after))
}

fn report(shared: &Shared, total: &Tally) -> LoadReport {
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let window_s = (shared.measure_to - shared.measure_from).as_secs_f64();
    LoadReport {
        sent: load(&shared.sent),
        refused: load(&shared.refused),
        unanswered: load(&shared.sent).saturating_sub(load(&shared.answered)),
        missing_deliveries: load(&shared.expected).saturating_sub(load(&shared.delivered)),
        window_s,
        stored_in_window: total.stored,
        delivered_in_window: total.delivered,
        stored_per_second: total.stored as f64 / window_s,
        delivered_per_second: total.delivered as f64 / window_s,
        stored_latency: total.stored_latency.percentiles(),
        delivered_latency: total.delivered_latency.percentiles(),
        pace_lag: total.pace_lag.percentiles(),
        server_cpu_us_per_message: None,
        server_cpu_us_per_delivery: None,
    }
}

impl Shared {
    fn starting(epoch: Instant, plan: &Plan) -> Shared {
        let measure_from = epoch + plan.warmup;
        Shared {
            epoch,
            measure_from,
            measure_to: measure_from + plan.duration,
            payload_bytes: plan.payload_bytes,
            stop_sending: CancellationToken::new(),
            done: CancellationToken::new(),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.stored += other.stored;
        self.delivered += other.delivered;
        self.stored_latency.merge(&other.stored_latency);
        self.delivered_latency.merge(&other.delivered_latency);
        self.pace_lag.merge(&other.pace_lag);
    }
}
