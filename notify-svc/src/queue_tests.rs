//! The queue against whatever order pushes, ends and time come in.

use super::*;
use crate::provider::tests::push;
use heddle_proto::ids::LogId;
use proptest::prelude::*;
use std::time::Duration;

const LIFE: Duration = Duration::from_secs(2);

/// What a test can tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    name: u64,
    key: Option<Key>,
    position: u64,
    origin: Option<Arc<str>>,
    fresh_until: Option<Instant>,
    replaced: Vec<u64>,
}

impl Item for Thing {
    fn key(&self) -> Option<Key> {
        self.key
    }
    fn position(&self) -> u64 {
        self.position
    }
    fn origin(&self) -> Option<&Arc<str>> {
        self.origin.as_ref()
    }
    fn perishes_at(&self) -> Option<Instant> {
        self.fresh_until
    }
    fn perish(&mut self) {
        self.fresh_until = None;
    }
    fn replaces(&mut self, older: &Self) {
        self.replaced.push(older.name);
    }
}

fn key(talk: u64) -> Option<Key> {
    let mut push = push(None);
    push.conversation_id = LogId::direct("ann", &format!("friend{talk}"));
    Key::of(&push)
}

fn thing(name: u64, talk: u64, position: u64) -> Thing {
    Thing {
        name,
        key: key(talk),
        position,
        origin: None,
        fresh_until: None,
        replaced: Vec::new(),
    }
}

fn at(origin: &str, name: u64) -> Thing {
    Thing {
        origin: Some(origin.into()),
        ..thing(name, name, 1)
    }
}

fn queue() -> Queue<Thing> {
    let per_origin_max = 4;
    Queue::new(&LaneConfig {
        per_origin_max,
        ..LaneConfig::default()
    })
}

fn names(things: impl IntoIterator<Item = Thing>) -> Vec<u64> {
    things.into_iter().map(|it| it.name).collect()
}

fn all_ready(queue: &mut Queue<Thing>, now: Instant) -> Vec<Thing> {
    queue.advance(now);
    std::iter::from_fn(|| queue.take(now)).collect()
}

#[test]
fn a_newer_one_takes_the_place_of_one_that_waits() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.put(thing(1, 7, 10));
    queue.put(thing(2, 8, 11));
    assert_eq!(names(queue.put(thing(3, 7, 12))), [1]);
    let left = all_ready(&mut queue, now);
    assert_eq!(left[0].replaced, [1]);
    assert_eq!(names(left), [3, 2], "in the older one's place");
}

#[test]
fn an_older_one_that_comes_late_is_superseded_at_once() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.put(thing(1, 7, 10));
    assert_eq!(names(queue.put(thing(2, 7, 9))), [2], "one waits");
    let sending = queue.take(now).unwrap();
    assert_eq!(names(queue.put(thing(3, 7, 9))), [3], "one is being sent");
    queue.ended(&sending);
    assert_eq!(names(queue.put(thing(4, 7, 9))), [4], "one was sent");
    assert_eq!(queue.put(thing(5, 7, 10)), None, "the same once more");
}

#[test]
fn one_that_failed_makes_way_for_a_newer_one_and_never_follows_it() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.put(thing(1, 7, 10));
    let slow = queue.take(now).unwrap();
    queue.put(thing(2, 7, 11));
    assert_eq!(queue.take(now), None, "it waits for the end of the other");
    queue.ended(&slow);
    assert_eq!(names(queue.put_back(slow, now + LIFE)), [1]);
    let newer = queue.take(now).unwrap();
    assert_eq!((newer.name, &*newer.replaced), (2, &[1][..]));
    queue.ended(&newer);
    assert_eq!(queue.wake_at(now, true), None, "nothing is left");
}

#[test]
fn one_that_waits_for_another_try_is_replaced_by_one_that_leaves_at_once() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.put(thing(1, 7, 10));
    let failed = queue.take(now).unwrap();
    queue.ended(&failed);
    assert_eq!(queue.put_back(failed, now + 100 * LIFE), None);
    assert_eq!(queue.take(now), None);
    assert_eq!(names(queue.put(thing(2, 7, 11))), [1]);
    assert_eq!(names(queue.take(now)), [2]);
    assert_eq!(queue.wake_at(now, true), None);
}

#[test]
fn another_try_comes_when_it_is_due() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.put(thing(1, 7, 10));
    let failed = queue.take(now).unwrap();
    queue.ended(&failed);
    queue.put_back(failed, now + LIFE);
    assert_eq!(queue.wake_at(now, true), Some(now + LIFE));
    assert!(all_ready(&mut queue, now + LIFE / 2).is_empty());
    assert_eq!(names(all_ready(&mut queue, now + LIFE)), [1]);
}

#[test]
fn one_origin_that_hangs_holds_up_no_other() {
    let (mut queue, now) = (queue(), Instant::now());
    (0..10).for_each(|name| drop(queue.put(at("slow:443", name))));
    (10..13).for_each(|name| drop(queue.put(at("quick:443", name))));
    let mut sending = all_ready(&mut queue, now);
    assert_eq!(names(sending.clone()), [0, 1, 2, 3, 10, 11, 12]);
    queue.ended(&sending.remove(0));
    assert_eq!(names(all_ready(&mut queue, now)), [4]);
}

#[test]
fn what_perishes_is_dropped_while_it_waits() {
    let (mut queue, now) = (queue(), Instant::now());
    let fresh = |name, until| Thing {
        fresh_until: Some(until),
        ..thing(name, name, 1)
    };
    queue.put(fresh(1, now + LIFE));
    queue.put(fresh(2, now + 2 * LIFE));
    assert_eq!(queue.wake_at(now, false), Some(now + LIFE));
    queue.advance(now + LIFE);
    assert_eq!(queue.slots[&0].item.fresh_until, None, "memory holds none");
    assert!(queue.slots[&1].item.fresh_until.is_some());
    // A newer one in the place of another has a life of its own.
    let newer = Thing {
        position: 2,
        ..fresh(3, now + 5 * LIFE)
    };
    queue.put(Thing {
        key: key(2),
        ..newer
    });
    queue.advance(now + 2 * LIFE);
    assert!(queue.slots[&1].item.fresh_until.is_some());
    assert_eq!(queue.wake_at(now, false), Some(now + 5 * LIFE));
}

#[test]
fn above_the_rate_pushes_wait() {
    let config = LaneConfig {
        rate_per_second_max: 1,
        ..LaneConfig::default()
    };
    let (mut queue, now) = (Queue::new(&config), Instant::now());
    queue.put(thing(1, 1, 1));
    queue.put(thing(2, 2, 1));
    assert_eq!(names(all_ready(&mut queue, now)), [1]);
    let next = queue.wake_at(now, true).unwrap();
    assert!(next > now && next <= now + Duration::from_secs(1));
    assert_eq!(queue.wake_at(now, false), None);
    assert_eq!(names(all_ready(&mut queue, next)), [2]);
}

/// One thing that may happen to a queue.
#[derive(Clone, Debug)]
enum Happens {
    Put {
        talk: u64,
        position: u64,
        origin: Option<u8>,
        lives: bool,
    },
    Take,
    End {
        nth: usize,
        again: bool,
    },
    Time(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let put = (0..5u64, 0..20u64, prop::option::of(0..2u8), any::<bool>()).prop_map(
        |(talk, position, origin, lives)| Happens::Put {
            talk,
            position,
            origin,
            lives,
        },
    );
    prop_oneof![
        4 => put,
        4 => Just(Happens::Take),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(nth, again)| Happens::End { nth, again }),
        1 => (0..3_000u64).prop_map(Happens::Time),
    ]
}

/// A queue, what is outside of it, and what must hold whatever happens.
struct Trial {
    queue: Queue<Thing>,
    now: Instant,
    sending: Vec<Thing>,
    left: HashMap<Key, u64>,
    gone: Vec<u64>,
    put: u64,
}

impl Trial {
    fn step(&mut self, happens: Happens) {
        self.queue.advance(self.now);
        match happens {
            Happens::Put {
                talk,
                position,
                origin,
                lives,
            } => {
                let fresh_until = lives.then(|| self.now + LIFE);
                // Talk 0 has no key.
                let item = Thing {
                    key: key(talk).filter(|_| talk > 0),
                    origin: origin.map(|it| format!("{it}").into()),
                    fresh_until,
                    ..thing(self.put, talk, position)
                };
                self.put += 1;
                let superseded = self.queue.put(item);
                self.gone.extend(names(superseded));
            }
            Happens::Take => self.take(),
            Happens::End { nth, again } if !self.sending.is_empty() => {
                let mut item = self.sending.swap_remove(nth % self.sending.len());
                self.queue.ended(&item);
                item.perish();
                let superseded = match again {
                    true => self.queue.put_back(item, self.now + LIFE),
                    false => Some(item),
                };
                self.gone.extend(names(superseded));
            }
            Happens::End { .. } => {}
            Happens::Time(ms) => self.now += Duration::from_millis(ms),
        }
    }

    fn take(&mut self) {
        let Some(item) = self.queue.take(self.now) else {
            return;
        };
        assert!(item.fresh_until.is_none_or(|until| until > self.now));
        if let Some(key) = item.key {
            assert!(
                self.sending.iter().all(|it| it.key != item.key),
                "two of a key"
            );
            let last = self.left.entry(key).or_default();
            assert!(item.position >= *last, "an older one follows");
            *last = item.position;
        }
        self.sending.push(item);
        for origin in ["0", "1"] {
            let there = |it: &&Thing| it.origin.as_deref() == Some(origin);
            assert!(self.sending.iter().filter(there).count() <= 2);
        }
    }

    /// Lets everything leave and succeed.
    fn drain(&mut self) {
        for _ in 0..1_000 {
            self.now += LIFE;
            self.step(Happens::Take);
            self.step(Happens::Take);
            self.step(Happens::End {
                nth: 0,
                again: false,
            });
        }
    }
}

proptest! {
    /// Each one ends once, whatever happens; and nothing is left of any in the account.
    #[test]
    fn everything_ends_once_and_nothing_goes_back(
        steps in prop::collection::vec(happens(), 0..200)
    ) {
        let config = LaneConfig { per_origin_max: 2, ..LaneConfig::default() };
        let mut trial = Trial {
            queue: Queue::new(&config),
            now: Instant::now(),
            sending: Vec::new(),
            left: HashMap::new(),
            gone: Vec::new(),
            put: 0,
        };
        for happens in steps {
            trial.step(happens);
            let waiting = trial.queue.slots.values().filter(|it| it.item.key.is_some());
            prop_assert!(waiting.count() <= 4, "one for each key");
        }
        trial.drain();
        trial.gone.sort_unstable();
        prop_assert_eq!(trial.gone, (0..trial.put).collect::<Vec<_>>());
        let queue = &trial.queue;
        prop_assert!(queue.slots.is_empty() && queue.keys.is_empty() && queue.ready.is_empty());
        prop_assert!(queue.delayed.is_empty() && queue.perishing.is_empty());
    }
}
