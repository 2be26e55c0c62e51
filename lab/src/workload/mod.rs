//! The mixed workload: people who do everything at once, and all they saw as a history.
//!
//! [`World`] makes people, devices and groups; [`actor`] is one device that acts at random;
//! [`observe`] turns what the API says into what the checker knows; [`settle`] ends a run: everyone
//! comes back, everything is answered, final states are read.
//!
//! Invariant: what is random follows from the seed; what was asked is recorded before it is asked.

mod actor;
mod acts;
mod errand;
mod kept;
mod observe;
mod settle;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use heddle_sdk::{Client, ConversationId};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;

use crate::checker::Recorder;
use crate::target::{Target, TargetError, conversation};
use actor::{Actor, SharedView};

/// Sessions that are opened at once.
const OPENING_MAX: usize = 16;

/// How large a world is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// People.
    pub users: usize,
    /// Devices of each.
    pub devices: usize,
    /// Groups.
    pub groups: usize,
    /// Members of each.
    pub members: usize,
}

impl Default for Size {
    fn default() -> Size {
        Size {
            users: 16,
            devices: 2,
            groups: 4,
            members: 8,
        }
    }
}

/// A group of the world.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub id: ConversationId,
    /// Indices of users; the first is the owner and stays.
    pub members: Vec<usize>,
}

/// What all actors share.
pub(crate) struct Shared {
    pub recorder: Recorder,
    pub epoch: Instant,
    /// User ids; their indices are those of the history.
    pub ids: Vec<String>,
    pub groups: Vec<Group>,
    /// By user: a client for calls.
    pub clients: Vec<Client>,
    /// Nothing new is begun.
    pub stop: AtomicBool,
    /// Asked and not answered.
    pub outstanding: AtomicU64,
    /// Answered OK, of what makes an event.
    pub acknowledged: AtomicU64,
    /// What the SDK did not hide, and should have.
    pub errors: AtomicU64,
}

impl Shared {
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Counts what says that the server failed, not that it refused.
    pub(crate) fn note_error(&self, error: &heddle_sdk::Error) {
        let failed = [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::ResourceExhausted,
            Code::Internal,
            Code::Unknown,
            Code::DataLoss,
            Code::Unauthenticated,
        ];
        if failed.contains(&error.code) {
            tracing::warn!(%error, "the SDK could not hide this");
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn user(&self, id: &str) -> Option<u32> {
        let index = self.ids.iter().position(|known| known == id)?;
        u32::try_from(index).ok()
    }

    pub(crate) fn group(&self, id: &[u8]) -> Option<usize> {
        self.groups
            .iter()
            .position(|group| group.id.as_bytes() == id)
    }
}

/// People at work.
pub struct World {
    shared: Arc<Shared>,
    views: Vec<SharedView>,
    /// Asked of all devices to be online.
    home: watch::Sender<bool>,
    tasks: JoinSet<()>,
    size: Size,
}

impl World {
    /// Makes people of this name and seed, their groups and sessions, and lets them begin.
    pub async fn begin(
        target: &Target,
        name: &str,
        seed: u64,
        size: Size,
    ) -> Result<World, TargetError> {
        let mut chance = StdRng::seed_from_u64(seed);
        let recorder = Recorder::default();
        let ids: Vec<String> = (0..size.users)
            .map(|user| format!("{name}-u{user}"))
            .collect();
        {
            let mut history = recorder.lock();
            for id in &ids {
                history.user(id.clone());
            }
            history.user("somebody else");
        }
        let clients: Result<Vec<Client>, TargetError> =
            ids.iter().map(|id| target.client(id, "calls")).collect();
        let clients = clients?;
        let groups = make_groups(&ids, &clients, &recorder, size, &mut chance).await?;
        recorder.lock().conversation("elsewhere");
        let shared = Arc::new(Shared {
            recorder,
            epoch: Instant::now(),
            ids,
            groups,
            clients,
            stop: AtomicBool::new(false),
            outstanding: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        });
        let home = watch::Sender::new(false);
        let seeds: Vec<u64> = (0..size.users * size.devices)
            .map(|_| chance.random())
            .collect();
        let opening = stream::iter(seeds.into_iter().enumerate()).map(|(index, seed)| {
            let (user, number) = (index / size.devices, index % size.devices);
            let (shared, home) = (shared.clone(), home.subscribe());
            async move {
                let client = target.client(&shared.ids[user], &format!("device-{number}"))?;
                let opened = Actor::open(shared, client, user, number, seed, home).await;
                opened.map_err(TargetError::refused("a session could not be opened"))
            }
        });
        let actors: Vec<Actor> = opening.buffered(OPENING_MAX).try_collect().await?;
        let mut tasks = JoinSet::new();
        let mut views = Vec::new();
        for actor in actors {
            views.push(actor.view.clone());
            tasks.spawn(actor.run());
        }
        Ok(World {
            shared,
            views,
            home,
            tasks,
            size,
        })
    }

    /// Answered OK so far, of what makes an event.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Failures that the SDK did not hide.
    pub fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }

    /// Asked and not answered, now.
    pub fn outstanding(&self) -> u64 {
        self.shared.outstanding.load(Ordering::Relaxed)
    }
}

/// Every owner's device is to be told of the group, so sessions are opened after: their mailboxes
/// begin at a head that is recorded.
async fn make_groups(
    ids: &[String],
    clients: &[Client],
    recorder: &Recorder,
    size: Size,
    chance: &mut StdRng,
) -> Result<Vec<Group>, TargetError> {
    let mut groups = Vec::new();
    for number in 0..size.groups {
        let mut members: Vec<usize> = (0..size.users).collect();
        members.shuffle(chance);
        members.truncate(size.members);
        let others = members[1..].iter().map(|&user| ids[user].clone()).collect();
        let title = format!("group-{number}");
        let made = clients[members[0]].create_group(&title, others).await;
        let made = made.map_err(TargetError::refused("a group could not be made"))?;
        let id = conversation::id_of(&made)?;
        recorder.lock().conversation(title);
        groups.push(Group { id, members });
    }
    Ok(groups)
}
