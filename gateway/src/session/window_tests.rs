//! Tests of the window: a model of shard, store and device around it.

use super::*;
use proptest::prelude::*;

const BYTES_MAX: usize = 1_000;

fn offer(position: u64, body_bytes: usize) -> Offer {
    let markable = Some(Markable {
        conversation: LogId::mailbox("c"),
        seq: position,
    });
    Offer {
        cursor: Cursor { position, nonce: 1 },
        body_bytes,
        markable,
    }
}

fn at(position: u64) -> Cursor {
    Cursor { position, nonce: 1 }
}

fn window() -> Window {
    Window::new(at(0), at(0), BYTES_MAX)
}

#[test]
fn live_deliveries_pass_in_order() {
    let mut window = window();
    assert_eq!(
        window.offer(&offer(1, 10)),
        Verdict::Take {
            previous_position: 0
        }
    );
    assert_eq!(
        window.offer(&offer(2, 10)),
        Verdict::Take {
            previous_position: 1
        }
    );
    assert_eq!(window.offer(&offer(2, 10)), Verdict::Known);
    assert_eq!(window.plan_read(), None);
}

#[test]
fn a_hole_is_read_from_the_store() {
    let mut window = window();
    window.offer(&offer(1, 10));
    assert_eq!(window.offer(&offer(3, 10)), Verdict::Behind);
    let plan = window.plan_read().unwrap();
    assert_eq!((plan.after_position, plan.head), (1, 3));
    assert_eq!(window.plan_read(), None, "one read at a time");
    assert_eq!(
        window.offer(&offer(2, 10)),
        Verdict::Behind,
        "the read brings it"
    );
    assert_eq!(window.take_read(&offer(2, 10)), Some(1));
    assert_eq!(window.take_read(&offer(3, 10)), Some(2));
    window.end_read();
    assert_eq!(
        window.offer(&offer(4, 10)),
        Verdict::Take {
            previous_position: 3
        }
    );
}

/// Else a session whose deliveries come faster than the store answers would read for ever.
#[test]
fn what_comes_during_a_read_waits_for_it() {
    let mut window = window();
    window.see_head(at(2));
    let plan = window.plan_read().unwrap();
    assert_eq!((plan.after_position, plan.head), (0, 2));
    assert_eq!(window.offer(&offer(3, 10)), Verdict::Keep);
    assert_eq!(
        window.offer(&offer(4, BYTES_MAX)),
        Verdict::Behind,
        "no room"
    );
    assert_eq!(window.offer(&offer(5, 10)), Verdict::Behind, "a hole");
    for position in [1, 2] {
        assert!(window.take_read(&offer(position, 10)).is_some());
    }
    window.end_read();
    let taken = Verdict::Take {
        previous_position: 2,
    };
    assert_eq!(window.offer(&offer(3, 10)), taken);
    assert_eq!(window.plan_read().map(|plan| plan.after_position), Some(3));
}

#[test]
fn a_heartbeat_reveals_a_lost_last_delivery() {
    let mut window = window();
    window.see_head(at(1));
    assert_eq!(window.plan_read().map(|plan| plan.head), Some(1));
}

#[test]
fn one_event_passes_however_large() {
    let mut window = window();
    assert_eq!(
        window.offer(&offer(1, 5_000)),
        Verdict::Take {
            previous_position: 0
        }
    );
    assert_eq!(window.offer(&offer(2, 1)), Verdict::Behind);
    assert_eq!(
        window.plan_read(),
        None,
        "no room before an acknowledgement"
    );
    assert_eq!(window.acknowledge(1, |_| {}), Ok(1));
    assert!(window.plan_read().is_some());
}

#[test]
fn what_was_not_sent_cannot_be_acknowledged() {
    let mut window = window();
    window.offer(&offer(1, 10));
    assert_eq!(
        window.acknowledge(2, |_| {}),
        Err(BeyondSent {
            position: 2,
            last: 1
        })
    );
    assert_eq!(window.acknowledge(1, |_| {}), Ok(1));
    assert_eq!(window.acknowledge(1, |_| {}), Ok(0));
}

#[derive(Clone, Debug)]
enum Step {
    /// The shard commits an entry; its delivery arrives, or is lost.
    Commit { body_bytes: usize, arrives: bool },
    /// The last delivery arrives again.
    Again,
    /// The shard's heartbeat.
    Heartbeat,
    /// The device acknowledges a part of what it has.
    Acknowledge { part: u64 },
    /// The store answers the read that is under way, with at most so many entries.
    Answer { entries_max: usize },
    /// The store fails the read.
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1usize..400, any::<bool>())
            .prop_map(|(body_bytes, arrives)| Step::Commit { body_bytes, arrives }),
        1 => Just(Step::Again),
        1 => Just(Step::Heartbeat),
        4 => (0u64..=4).prop_map(|part| Step::Acknowledge { part }),
        4 => (1usize..6).prop_map(|entries_max| Step::Answer { entries_max }),
        1 => Just(Step::Fail),
    ]
}

/// Everything around a window.
struct World {
    window: Window,
    /// Bytes of each committed entry; its position is its index plus one.
    log: Vec<usize>,
    device: Vec<u64>,
    acknowledged: u64,
    marked: Vec<u64>,
    plan: Option<ReadPlan>,
    kept: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let (log, device, marked) = (vec![], vec![], vec![]);
        Self {
            window: window(),
            log,
            device,
            acknowledged: 0,
            marked,
            plan: None,
            kept: vec![],
        }
    }

    fn entry(&self, position: u64) -> Offer {
        offer(position, self.log[position as usize - 1])
    }

    fn live(&mut self, position: u64) {
        let entry = self.entry(position);
        match self.window.offer(&entry) {
            Verdict::Take { previous_position } => {
                assert_eq!(previous_position + 1, position);
                self.device.push(position);
            }
            Verdict::Keep => self.kept.push(position),
            Verdict::Known | Verdict::Behind => {}
        }
    }

    fn end_read(&mut self) {
        self.window.end_read();
        for position in std::mem::take(&mut self.kept) {
            self.live(position);
        }
        assert!(self.kept.is_empty());
    }

    fn answer(&mut self, entries_max: usize) {
        let Some(plan) = self.plan.take() else { return };
        let (mut bytes, mut count) = (0, 0);
        for position in plan.after_position + 1..=plan.head {
            let entry = self.entry(position);
            bytes += entry.body_bytes;
            if count > 0 && (bytes > plan.bytes_max || count >= entries_max.min(plan.entries_max)) {
                break;
            }
            count += 1;
            if self.window.take_read(&entry).is_some() {
                self.device.push(position);
            }
        }
        self.end_read();
    }

    fn acknowledge(&mut self, position: u64) {
        let marked = &mut self.marked;
        self.window
            .acknowledge(position, |markable| marked.push(markable.seq))
            .unwrap();
        self.acknowledged = position.max(self.acknowledged);
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Commit {
                body_bytes,
                arrives,
            } => {
                self.log.push(body_bytes);
                if arrives {
                    self.live(self.log.len() as u64);
                }
            }
            Step::Again if self.log.is_empty() => {}
            Step::Again => self.live(self.log.len() as u64),
            Step::Heartbeat => self.window.see_head(at(self.log.len() as u64)),
            Step::Acknowledge { part } => {
                let last = self.window.cursor().position;
                self.acknowledge(self.acknowledged + (last - self.acknowledged) * part / 4);
            }
            Step::Answer { entries_max } => self.answer(entries_max),
            Step::Fail => {
                if self.plan.take().is_some() {
                    self.end_read();
                }
            }
        }
        if self.plan.is_none() {
            self.plan = self.window.plan_read();
        }
    }

    fn check(&self) {
        let unread: usize = (self.acknowledged + 1..=self.window.cursor().position)
            .map(|position| self.entry(position).body_bytes + DELIVERY_OVERHEAD_BYTES)
            .sum();
        assert_eq!(unread, self.window.given_bytes());
        let last = self.device.last().map_or(0, |p| self.entry(*p).body_bytes);
        assert!(
            unread <= BYTES_MAX + last + DELIVERY_OVERHEAD_BYTES,
            "{unread}"
        );
        let kept = self.kept.iter().map(|position| self.entry(*position));
        let kept: usize = kept.map(|it| it.body_bytes + DELIVERY_OVERHEAD_BYTES).sum();
        assert!(kept <= BYTES_MAX, "{kept}");
    }
}

proptest! {
    /// Whatever is lost, late or doubled: the device gets each position once, in order, within the
    /// window; and all of them once heartbeats, reads and acknowledgements go through.
    #[test]
    fn complete_in_order_and_bounded(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
            world.check();
        }
        for _ in 0..2 * world.log.len() + 2 {
            world.run(Step::Heartbeat);
            world.run(Step::Answer { entries_max: 10 });
            world.run(Step::Acknowledge { part: 4 });
        }
        let all: Vec<u64> = (1..=world.log.len() as u64).collect();
        prop_assert_eq!(&world.device, &all);
        prop_assert_eq!(&world.marked, &all);
    }
}
