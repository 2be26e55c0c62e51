//! The driver against transports that misbehave on purpose: it must not flatter them.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;

/// How the loopback treats messages.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Each send stalls this long in the "server", one after the other.
    Slow(Duration),
    /// Every tenth send is refused, every other tenth never answered.
    Rude,
    /// The session ends after so many sends.
    Ends(u64),
}

/// A room of one: what is sent comes back as a delivery. `peers` is 1 in its plans.
#[derive(Clone, Copy, Debug)]
struct Loopback(Fault);

struct Echo {
    fault: Fault,
    queue: VecDeque<(u64, Bytes)>,
    ready: VecDeque<Happening>,
}

impl ChatTransport for Loopback {
    type Endpoint = Echo;
    async fn connect(&self, _: &Seat) -> Result<Echo, TransportError> {
        Ok(Echo {
            fault: self.0,
            queue: VecDeque::new(),
            ready: VecDeque::new(),
        })
    }
}

impl Endpoint for Echo {
    async fn send(&mut self, id: u64, body: Bytes) -> Result<(), TransportError> {
        assert_eq!(body.len(), 100);
        self.queue.push_back((id, body));
        Ok(())
    }

    async fn next(&mut self) -> Result<Happening, TransportError> {
        if let Some(happening) = self.ready.pop_front() {
            return Ok(happening);
        }
        let Some((id, body)) = self.queue.front().cloned() else {
            return std::future::pending().await;
        };
        match self.fault {
            Fault::Slow(stall) => tokio::time::sleep(stall).await, // tidy: allow-sleep the fault
            // Lets time pass: a loop that is always ready would starve the runtime's timers.
            _ => tokio::task::yield_now().await,
        }
        self.queue.pop_front();
        let delivered = Happening::Delivered { body };
        Ok(match self.fault {
            Fault::Ends(after) if id >= after => return Err(TransportError::new("gone")),
            Fault::Rude if id % 10 == 0 => Happening::Refused { id },
            Fault::Rude if id % 10 == 5 => delivered,
            _ => {
                self.ready.push_back(delivered);
                Happening::Stored { id }
            }
        })
    }
}

fn short(mut plan: Plan) -> Plan {
    plan.warmup = Duration::from_millis(20);
    plan.duration = Duration::from_millis(200);
    plan.drain_max = Duration::from_millis(100);
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_run_is_complete() {
    let mut plan = short(Plan::pairs(4, 8));
    plan.drain_max = Duration::from_secs(20);
    plan.server_pid = Some(std::process::id());
    let report = run(&Loopback(Fault::None), &plan).await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert!(report.stored_in_window > 0 && report.stored_per_second > 0.0);
    assert!(report.stored_latency.count > 0 && report.delivered_latency.count > 0);
    assert!(report.server_cpu_us_per_message.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_charged_for_the_sends_that_had_to_wait() {
    // 100 sends a second are due, 20 ms each: in 200 ms the queue is 100 ms long and more.
    let mut plan = short(Plan::group(0, 100));
    plan.seats[0].seat.peers = 1;
    plan.drain_max = Duration::from_secs(20);
    let report = run(&Loopback(Fault::Slow(Duration::from_millis(20))), &plan)
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert!(
        (20..=22).contains(&report.sent),
        "an open loop does not slow down: {report:?}"
    );
    assert!(report.stored_latency.max_us > 100_000, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_or_never_answered_is_in_the_report() {
    let mut plan = short(Plan::group(0, 1000));
    plan.seats[0].seat.peers = 1;
    let report = run(&Loopback(Fault::Rude), &plan).await.unwrap();
    assert!(!report.is_complete());
    assert!(report.refused.abs_diff(report.sent / 10) <= 1, "{report:?}");
    assert!(
        report.unanswered.abs_diff(report.sent / 10) <= 1,
        "{report:?}"
    );
    assert_eq!(report.missing_deliveries, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_fails_the_run() {
    let plan = short(Plan::pairs(2, 4));
    let error = run(&Loopback(Fault::Ends(3)), &plan).await.unwrap_err();
    assert!(matches!(error, LoadError::Transport(_)), "{error}");
}
