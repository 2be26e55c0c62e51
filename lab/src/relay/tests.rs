//! The relay under the driver that will drive Heddle.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::RelayTransport;
use super::{Mode, RelayError, serve};
use crate::load::{self, ChatTransport, Endpoint, Happening, Plan, Seat};

struct Running {
    transport: RelayTransport,
    stop: CancellationToken,
    served: JoinHandle<Result<(), RelayError>>,
}

async fn start(mode: Mode, dir: &Path) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (dir, stopped) = (dir.to_owned(), stop.clone());
    let served = tokio::spawn(async move { serve(listener, mode, &dir, stopped).await });
    let transport = RelayTransport::new(&format!("http://{address}")).unwrap();
    Running {
        transport,
        stop,
        served,
    }
}

fn seat(name: &str, room: &str) -> Seat {
    Seat {
        name: name.into(),
        room: room.into(),
        peers: 1,
    }
}

fn short(mut plan: Plan) -> Plan {
    plan.warmup = Duration::from_millis(50);
    plan.duration = Duration::from_millis(300);
    plan.drain_max = Duration::from_secs(30);
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_reach_the_room_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(Mode::Bare, dir.path()).await;
    let mut ann = running
        .transport
        .connect(&seat("ann", "one"))
        .await
        .unwrap();
    let mut bob = running
        .transport
        .connect(&seat("bob", "one"))
        .await
        .unwrap();
    let mut eve = running
        .transport
        .connect(&seat("eve", "two"))
        .await
        .unwrap();
    for id in 0..100 {
        ann.send(id, Bytes::from(format!("line {id}")))
            .await
            .unwrap();
    }
    for id in 0..100 {
        assert_eq!(ann.next().await, Ok(Happening::Stored { id }));
        let body = Bytes::from(format!("line {id}"));
        assert_eq!(bob.next().await, Ok(Happening::Delivered { body }));
    }
    running.stop.cancel();
    // Her session ends without her ever having heard anything.
    assert!(eve.next().await.is_err());
    running.served.await.unwrap().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_durable_relay_has_on_disk_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(Mode::Durable, dir.path()).await;
    let plan = short(Plan::pairs(8, 16));
    let report = load::run(&running.transport, &plan).await.unwrap();
    assert!(
        report.is_complete() && report.stored_in_window > 0,
        "{report:?}"
    );
    running.stop.cancel();
    running.served.await.unwrap().unwrap();
    let bytes = std::fs::metadata(dir.path().join("relay.log"))
        .unwrap()
        .len();
    assert_eq!(bytes, report.sent * (100 + 16));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_modes_serve_pairs_groups_and_idle_sessions() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [Mode::Bare, Mode::Durable] {
        let running = start(mode, dir.path()).await;
        let paced = short(Plan::paced_pairs(10, 500));
        let report = load::run(&running.transport, &paced).await.unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert!(report.sent.abs_diff(175) <= 2, "{report:?}");
        let group = short(Plan::group(20, 100));
        let report = load::run(&running.transport, &group).await.unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(
            report.delivered_latency.count,
            report.stored_latency.count * 20
        );
        let stop = CancellationToken::new();
        let opened = stop.clone();
        load::hold_idle(&running.transport, 50, || opened.cancel(), stop)
            .await
            .unwrap();
        running.stop.cancel();
        running.served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let missing = Path::new("/nonexistent/relay");
    let served = serve(listener, Mode::Durable, missing, CancellationToken::new()).await;
    assert!(matches!(served, Err(RelayError::Log(_))));
}
