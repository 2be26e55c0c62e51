//! Tests of `tasks`: who ends the process, in which order services stop, what is cut off.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

const SOON: Duration = Duration::from_secs(10);

async fn ended(tasks: &Tasks) -> TaskFailure {
    timeout(SOON, tasks.process_ending().cancelled())
        .await
        .unwrap();
    tasks.failure().unwrap()
}

async fn panics(text: &str) {
    panic!("{text}");
}

#[tokio::test]
async fn a_panic_in_one_service_ends_the_process() {
    let root = Tasks::new("process");
    let (one, other) = (root.child("one"), root.child("other"));
    one.spawn("boom", panics("the loom broke"));
    let failure = ended(&other).await;
    assert_eq!(
        failure.to_string(),
        "task boom of one panicked: the loom broke"
    );
}

#[tokio::test]
async fn an_error_ends_the_process_and_an_ok_does_not() {
    let tasks = Tasks::new("service");
    tasks.spawn("fine", async { Ok::<(), String>(()) });
    tasks.spawn("nothing", async {});
    timeout(SOON, async {
        while !tasks.is_empty() {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    assert!(!tasks.process_ending().is_cancelled());
    tasks.spawn("bad", async { Err::<(), _>("no thread left") });
    assert_eq!(ended(&tasks).await.cause, "failed: no thread left");
}

#[tokio::test]
async fn a_contained_panic_goes_no_further() {
    let tasks = Tasks::new("service");
    tasks.spawn_contained("peer", async { panic!("bad peer") });
    assert_eq!(tasks.drain(SOON).await, 0);
    assert_eq!(tasks.failure(), None);
    assert!(!tasks.process_ending().is_cancelled());
}

#[tokio::test]
async fn what_started_last_stops_first() {
    let root = Tasks::new("process");
    let order = Arc::new(Mutex::new(Vec::new()));
    for name in ["store", "shards", "edge"] {
        let (service, order) = (root.child(name), order.clone());
        let stopping = service.stopping().clone();
        service.spawn("loop", async move {
            stopping.cancelled().await;
            order.lock().unwrap().push(name);
        });
    }
    assert_eq!(root.drain(SOON).await, 0);
    assert_eq!(*order.lock().unwrap(), ["edge", "shards", "store"]);
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn what_does_not_stop_is_cut_off_and_leaves_time_for_others() {
    let root = Tasks::new("process");
    let (store, edge) = (root.child("store"), root.child("edge"));
    let dropped = Arc::new(AtomicBool::new(false));
    let held = SetOnDrop(dropped.clone());
    edge.spawn("stuck", async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    let (stopping, flushed) = (store.stopping().clone(), Arc::new(AtomicBool::new(false)));
    let flush = flushed.clone();
    store.spawn("flush", async move {
        stopping.cancelled().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        flush.store(true, Ordering::SeqCst);
    });
    assert_eq!(root.drain(Duration::from_secs(1)).await, 1);
    assert!(dropped.load(Ordering::SeqCst) && flushed.load(Ordering::SeqCst));
}
