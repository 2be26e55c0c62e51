//! Tests of `outbox`: frames, bounds, order, wake-ups and ends.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use futures_util::StreamExt;
use proptest::prelude::*;

type Sized = (u32, usize);

type Whole = fn(Vec<Sized>) -> Vec<Sized>;

fn sized(items_max: usize, bytes_max: usize) -> (Outbox<Sized>, Frames<Sized, Whole>) {
    let options = OutboxOptions {
        items_max,
        bytes_max,
    };
    outbox_sized(options, |item| item.1, (|items| items) as Whole)
}

#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn many_items_wake_the_writer_once() {
    let (outbox, mut frames) = sized(100, 1000);
    let wakes = Arc::new(Counted::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    assert!(frames.poll_next_unpin(&mut context).is_pending());
    assert!(outbox.try_send_all((0..10).map(|n| (n, 1))).is_empty());
    for n in 10..20 {
        outbox.try_send((n, 1)).unwrap();
    }
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Some(frame)) = frames.poll_next_unpin(&mut context) else {
        panic!("no frame")
    };
    assert_eq!(
        frame.iter().map(|item| item.0).collect::<Vec<_>>(),
        (0..20).collect::<Vec<_>>()
    );
    assert!(frames.poll_next_unpin(&mut context).is_pending());
}

#[test]
fn a_full_outbox_gives_the_item_back() {
    let (outbox, _frames) = sized(2, 100);
    outbox.try_send((0, 1)).unwrap();
    outbox.try_send((1, 1)).unwrap();
    let error = outbox.try_send((2, 1)).unwrap_err();
    assert!(matches!(error, TrySendError::Full((2, 1))));
    let (outbox, _frames) = sized(10, 100);
    outbox.try_send((0, 500)).unwrap();
    assert_eq!(outbox.try_send_all([(1, 1), (2, 1)]), [(1, 1), (2, 1)]);
}

#[tokio::test]
async fn room_is_waited_for_until_half_is_taken_or_the_stream_has_ended() {
    use futures_util::FutureExt;
    let (outbox, mut frames) = sized(10_000, 4 * LINK_FRAME_BYTES_MAX);
    assert!(outbox.room().now_or_never().is_some());
    for n in 0..3 {
        outbox.try_send((n, LINK_FRAME_BYTES_MAX)).unwrap();
    }
    let mut room = Box::pin(outbox.room());
    assert!(room.as_mut().now_or_never().is_none());
    frames.next().await;
    assert!(room.as_mut().now_or_never().is_none(), "half is taken");
    frames.next().await;
    assert!(room.as_mut().now_or_never().is_some());
    outbox.send_permitted((3, 4 * LINK_FRAME_BYTES_MAX));
    let room = outbox.room();
    drop(frames);
    assert!(room.now_or_never().is_some());
}

#[tokio::test]
async fn a_permitted_item_is_taken_even_when_full() {
    let (outbox, mut frames) = sized(1, 100);
    outbox.try_send((0, 1)).unwrap();
    outbox.send_permitted((1, 1));
    assert!(matches!(
        outbox.try_send((2, 1)),
        Err(TrySendError::Full(_))
    ));
    assert_eq!(frames.next().await, Some(vec![(0, 1), (1, 1)]));
    outbox.close();
    outbox.send_permitted((3, 1));
    assert_eq!(frames.next().await, None);
}

#[tokio::test]
async fn closing_drains_first() {
    let (outbox, mut frames) = sized(10, 100);
    outbox.try_send((0, 1)).unwrap();
    outbox.close();
    assert!(matches!(
        outbox.try_send((1, 1)),
        Err(TrySendError::Closed(_))
    ));
    assert_eq!(frames.next().await, Some(vec![(0, 1)]));
    assert_eq!(frames.next().await, None);
}

#[tokio::test]
async fn dropping_the_last_outbox_ends_the_stream() {
    let (outbox, mut frames) = sized(10, 100);
    let other = outbox.clone();
    drop(outbox);
    let reader = tokio::spawn(async move { (frames.next().await, frames.next().await) });
    other.try_send((7, 1)).unwrap();
    drop(other);
    assert_eq!(reader.await.unwrap(), (Some(vec![(7, 1)]), None));
}

#[test]
fn dropping_the_stream_closes_the_outbox() {
    let (outbox, frames) = sized(10, 100);
    outbox.try_send((0, 1)).unwrap();
    drop(frames);
    assert!(outbox.is_closed() && outbox.is_empty());
    assert!(outbox.try_send((1, 1)).unwrap_err().into_inner() == (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_threads() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 5_000;
    let (outbox, mut frames) = sized(64, 10_000);
    for sender in 0..SENDERS {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let mut next = 0;
            while next < EACH {
                match outbox.try_send((sender * EACH + next, 1)) {
                    Ok(()) => next += 1,
                    Err(_full) => tokio::task::yield_now().await,
                }
            }
        });
    }
    drop(outbox);
    let mut next = [0; SENDERS as usize];
    let all = async {
        while let Some(frame) = frames.next().await {
            for (item, _) in frame {
                assert_eq!(item % EACH, next[(item / EACH) as usize]);
                next[(item / EACH) as usize] += 1;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), all)
        .await
        .unwrap();
    assert_eq!(next, [EACH; SENDERS as usize]);
}

proptest! {
    /// Whatever is put in and taken out: in order, nothing lost, no frame and no queue too large.
    #[test]
    fn frames_keep_order_and_bounds(
        steps in prop::collection::vec(prop_oneof![
            3 => (0usize..40_000).prop_map(Some),
            1 => Just(None),
        ], 0..1200)
    ) {
        let (outbox, mut frames) = sized(700, 1_000_000);
        let mut context = Context::from_waker(Waker::noop());
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let mut take = |received: &mut Vec<Sized>| match frames.poll_next_unpin(&mut context) {
            Poll::Ready(Some(frame)) => {
                let bytes: usize = frame.iter().map(|item| item.1).sum();
                assert!(!frame.is_empty() && frame.len() <= LINK_ITEMS_MAX);
                assert!(bytes <= LINK_FRAME_BYTES_MAX);
                received.extend(frame);
                true
            }
            _ => false,
        };
        for step in steps {
            match step {
                Some(size) => {
                    let item = (sent.len() as u32, size);
                    sent.extend(outbox.try_send(item).is_ok().then_some(item));
                }
                None => { take(&mut received); }
            }
            prop_assert!(outbox.len() <= 700);
        }
        while take(&mut received) {}
        prop_assert_eq!(sent, received);
    }
}
