//! The stateright model: which actions there are in a state, and what must always hold.
//!
//! `owner` carries the actions out. Two symmetries are taken out as states are made: replicas are
//! kept in order, and a new event takes the least free name. Owners have none: they are named for
//! their epochs. Invariant: an action that would change nothing is not listed.

use stateright::{Model, Property};

use crate::mistake::Mistake;
pub use crate::owner::Act;
use crate::owner::{Step, end, replicas_needed};
use crate::state::{Event, OWNERS, Owner, Phase, REPLICAS, State};

/// How far the search goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Owners, one after the other; at most 3.
    pub owners: usize,
    /// seqs of the log; at most 3.
    pub seqs: u8,
    /// Events that clients have to send.
    pub events: Event,
    /// Whether anchors are written and rows expire.
    pub expiry: bool,
}

/// The protocol within bounds, whole or with a mistake.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// How far.
    pub bounds: Bounds,
    /// What is planted.
    pub mistake: Option<Mistake>,
}

/// The property that shows that a search is not empty.
pub const REACHED: &str = "the last owner commits the last seq";

/// The same for shards that move: something is sent again, as it was.
pub const SENT_AGAIN: &str = "what was in flight is sent again under the next epoch";

/// The searches of the test command (docs/model.md).
pub const SEARCHES: [Bounds; 3] = [
    Bounds::of(3, 3, 3, false),
    Bounds::of(3, 2, 2, true),
    Bounds::of(2, 3, 3, true),
];

impl Bounds {
    /// With batches of one or two events.
    pub const fn of(owners: usize, seqs: u8, events: Event, expiry: bool) -> Self {
        Self {
            owners,
            seqs,
            events,
            expiry,
        }
    }
}

/// One atomic step of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An owner (its epoch - 1) goes on.
    Of(usize, Act),
    /// Replica; key; epoch: a row arrives, late or by a repair.
    Deliver(usize, u8, u8),
    /// Replica; epoch: an anchor arrives.
    DeliverAnchor(usize, u8),
    /// A replica drops what may expire.
    Expire(usize),
}

impl Protocol {
    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn of_owner(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let owner = &state.owners[index];
        let epoch = index as u8 + 1;
        match owner.phase {
            Phase::Idle if state.epoch == index as u8 => {
                actions.push(self.first_step(index));
                if self.may_keep(state, index) {
                    actions.push(Action::Of(index, Act::Keep));
                }
            }
            Phase::ReadUnraised => actions.push(Action::Of(index, Act::Raise)),
            Phase::Raised => {
                self.reads(state, |at| Action::Of(index, Act::ReadAnchor(at)), actions)
            }
            Phase::Reading(_) => {
                self.reads(state, |at| Action::Of(index, Act::ReadRow(at)), actions)
            }
            Phase::Rewriting => self.commits(state, index, actions),
            Phase::Serving => {
                self.commits(state, index, actions);
                self.appends(state, index, actions);
                let moved = owner.head > state.anchor(owner.anchor).head;
                if self.bounds.expiry && !owner.anchored && moved && state.epoch == epoch {
                    actions.push(Action::Of(index, Act::WriteAnchor));
                }
            }
            Phase::Idle | Phase::Gone => {}
        }
    }

    fn first_step(&self, index: usize) -> Action {
        match self.is(Mistake::TailBeforeRaise) {
            true => Action::Of(index, Act::BeginUnraised),
            false => Action::Of(index, Act::Raise),
        }
    }

    /// Only the owner of the very epoch before may go on with what it knows. Other mistakes are
    /// looked for without that.
    fn may_keep(&self, state: &State, index: usize) -> bool {
        let earlier = &state.owners[..index];
        let serves = |owner: &Owner| owner.phase == Phase::Serving;
        match self.mistake {
            None => earlier.last().is_some_and(serves),
            Some(Mistake::KeptAcrossAnOwner) => earlier.iter().any(serves),
            Some(_) => false,
        }
    }

    /// A read leaves out any one replica; of equal ones it does not matter which.
    fn reads(&self, state: &State, read: impl Fn(usize) -> Action, actions: &mut Vec<Action>) {
        let replicas = &state.replicas;
        let differs = |at: &usize| *at == 0 || replicas[at - 1] != replicas[*at];
        actions.extend((0..REPLICAS).filter(differs).map(read));
    }

    fn commits(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let owner = &state.owners[index];
        let epoch = index as u8 + 1;
        let needed = replicas_needed(self.mistake);
        let stored = |key: u8| key == 0 || state.is_stored(key, epoch, needed);
        let [first, second] = owner.in_flight;
        if stored(first) && stored(second) {
            actions.push(Action::Of(index, Act::Verify));
        } else if self.is(Mistake::TwoInFlight) && second != 0 && stored(second) {
            actions.push(Action::Of(index, Act::VerifySecond));
        }
    }

    fn appends(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let owner = &state.owners[index];
        let [first, second] = owner.in_flight;
        let may_send = first == 0 || self.is(Mistake::TwoInFlight) && second == 0;
        let room = self.bounds.seqs.saturating_sub(end(owner));
        if !may_send || room == 0 {
            return;
        }
        if owner.again[0] != 0 {
            actions.push(Action::Of(index, Act::Append(owner.again)));
            return;
        }
        let fresh = state.fresh();
        let known = |event: &Event| owner.log.contains(event);
        let sendable = |up_to: Event| (1..=up_to.min(self.bounds.events)).filter(|id| !known(id));
        for event in sendable(fresh) {
            actions.push(Action::Of(index, Act::Append([event, 0])));
            if room < 2 {
                continue;
            }
            let next = fresh + u8::from(event == fresh);
            let others = sendable(next).filter(|other| *other != event);
            actions.extend(others.map(|other| Action::Of(index, Act::Append([event, other]))));
        }
    }

    fn deliveries(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let replica = &state.replicas[at];
        let wins = |epoch: u8, cell: u8| match self.is(Mistake::StampsWithoutEpoch) {
            true => epoch != cell,
            false => epoch > cell,
        };
        for epoch in 1..=state.epoch.max(1) {
            for (index, cell) in replica.rows.iter().enumerate() {
                let key = index as u8 + 1;
                if !state.row(key, epoch).is_empty() && wins(epoch, *cell) {
                    actions.push(Action::Deliver(at, key, epoch));
                }
            }
            if state.anchor(epoch).head > 0 && wins(epoch, replica.anchor) {
                actions.push(Action::DeliverAnchor(at, epoch));
            }
        }
        let kept = replica.rows[..usize::from(state.expirable)].iter();
        if kept.clone().any(|epoch| *epoch != 0) {
            actions.push(Action::Expire(at));
        }
    }

    /// Whoever serves with the epoch has, up to its head, all that was ever acknowledged.
    fn nothing_lost(&self, state: &State) -> bool {
        let serves = |(index, phase): (usize, Phase)| {
            phase == Phase::Serving && state.epoch == index as u8 + 1
        };
        state.owners.iter().enumerate().all(|(index, owner)| {
            let log = &owner.log[..usize::from(owner.head)];
            let mut acknowledged = state.acknowledged.iter().enumerate();
            !serves((index, owner.phase))
                || acknowledged.all(|(at, event)| *event == 0 || log.get(at) == Some(event))
        })
    }

    /// No event is in a served log twice, nor acknowledged with two seqs.
    fn nothing_doubled(&self, state: &State) -> bool {
        let once = |log: &[Event]| {
            let twice = |(at, event): (usize, &Event)| *event != 0 && log[..at].contains(event);
            !log.iter().enumerate().any(twice)
        };
        let mut serving = state
            .owners
            .iter()
            .filter(|owner| owner.phase == Phase::Serving);
        once(&state.acknowledged) && serving.all(|owner| once(&owner.log))
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for index in 0..OWNERS.min(self.bounds.owners) {
            self.of_owner(state, index, actions);
        }
        for at in 0..REPLICAS {
            if at == 0 || state.replicas[at - 1] != state.replicas[at] {
                self.deliveries(state, at, actions);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Deliver(at, key, epoch) => {
                next.replicas[at].rows[usize::from(key) - 1] = epoch;
            }
            Action::DeliverAnchor(at, epoch) => next.replicas[at].anchor = epoch,
            Action::Expire(at) => next.replicas[at].rows[..usize::from(next.expirable)].fill(0),
            Action::Of(index, act) => {
                let state = &mut next;
                Step {
                    state,
                    index,
                    mistake: self.mistake,
                }
                .act(act);
            }
        }
        next.replicas.sort_unstable();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing acknowledged is lost", Self::nothing_lost),
            Property::always("nothing is doubled", Self::nothing_doubled),
            Property::always("no seq is used twice", |_, state: &State| !state.seq_reused),
            Property::always("no owner finds data lost", |_, state: &State| {
                !state.data_lost
            }),
            Property::sometimes(REACHED, |model: &Self, state: &State| {
                let last = &state.owners[model.bounds.owners - 1];
                last.phase == Phase::Serving && last.head == model.bounds.seqs
            }),
            Property::sometimes(SENT_AGAIN, |_, state: &State| {
                let sends = |owner: &Owner| owner.phase == Phase::Serving && owner.again[0] != 0;
                state.owners.iter().any(sends)
            }),
        ]
    }
}
