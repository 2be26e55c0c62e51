//! Thousands of sessions are dropped at once and come back at once.
//!
//! While they are away each one misses a message, in a group of a hundred; all are to have resumed
//! within half a minute, and a minute later gateways are to be as large as before.
//!
//! They live on a thread of their own: else they, and not the server, would hold up the devices
//! whose deliveries are judged beside them, for seconds.
//!
//! Invariant: a session counts as back when it has what it missed.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use heddle_sdk::v1::{Cursor, ResumeOutcome};
use heddle_sdk::{Client, ConversationId, Outgoing, Session, Update, text};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};

use super::super::FaultError;
use super::{CALM, Raw};
use crate::measure::{ProcessStat, raise_open_files};
use crate::target::cluster::Cluster;
use crate::target::conversation::{self, brings_message};
use crate::target::{Target, TargetError};

const SESSIONS: usize = 5_000;
/// Members of a group.
const MEMBERS: usize = 100;
/// Sessions that are opened at once to begin with.
const OPENING_MAX: usize = 64;
const RESUMED_WITHIN: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(60);
/// How much larger a gateway may be then.
const GROWTH_MAX_PERCENT: u64 = 10;
/// What sessions may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(10);
/// Files beside one for each session.
const OTHER_FILES: u64 = 1_000;

/// A device.
struct Seat {
    client: Client,
    session: Option<Session>,
    cursor: Option<Cursor>,
}

/// Drops all, and waits for them.
pub(super) async fn strike(cluster: &Cluster, name: &str, raw: &mut Raw) -> Result<(), FaultError> {
    let limit = raise_open_files(SESSIONS as u64 + OTHER_FILES);
    if !limit.allows(SESSIONS as u64) {
        let text = format!("{SESSIONS} sessions need as many open files: raise `ulimit -n`");
        return Err(FaultError::Unfit(text));
    }
    let crowd = Crowd::start()?;
    let gathering = gather(cluster.target().clone(), name.to_owned());
    let (mut seats, groups) = crowd.run(gathering).await??;
    sleep(CALM).await;
    let before = memory(cluster)?;
    for seat in &mut seats {
        seat.cursor = seat
            .session
            .as_ref()
            .and_then(Session::cursor)
            .or(seat.cursor);
        seat.session = None;
    }
    for (speaker, group) in &groups {
        let outgoing = Outgoing {
            conversation_id: *group,
            client_message_id: speaker.mint(),
            message: text("while you were away"),
        };
        let sent = speaker.send(outgoing).await;
        sent.map_err(TargetError::refused("a message to those who are away"))?;
    }
    let (seats, took) = crowd.run(return_all(seats)).await?;
    raw.within(took, |raw| &mut raw.resumed_max_ms);
    sleep(LATER).await;
    for (before, after) in before.iter().zip(memory(cluster)?) {
        let percent = (after * 100 / before.max(&1)).saturating_sub(100);
        eprintln!(
            "  a gateway: {} MiB before, {} MiB later",
            before >> 20,
            after >> 20
        );
        raw.growth_max_percent = raw.growth_max_percent.max(percent);
        raw.late += u64::from(percent > GROWTH_MAX_PERCENT);
    }
    drop(seats);
    Ok(())
}

/// Where the sessions live.
struct Crowd {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Crowd {
    fn start() -> Result<Self, FaultError> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| FaultError::Unfit(error.to_string()))?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, FaultError> {
        let done = self.handle.spawn(work).await;
        done.map_err(|error| FaultError::Unfit(error.to_string()))
    }
}

/// A runtime must not end within another, so a thread waits for it.
impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || runtime.shutdown_timeout(GOODBYE));
        }
    }
}

type Groups = Vec<(Client, ConversationId)>;

/// Opens all sessions, then makes the groups: each has an event, so that it has a place to resume
/// from.
async fn gather(target: Target, name: String) -> Result<(Vec<Seat>, Groups), TargetError> {
    let target = &target;
    let refused = || TargetError::refused("thousands of sessions");
    let users: Vec<_> = (0..SESSIONS)
        .map(|it| format!("{name}-crowd-{it}"))
        .collect();
    let opening = stream::iter(users.clone()).map(|user| async move {
        let client = target.client(&user, "phone")?;
        let session = client.session().backoff(Target::backoff()).open().await;
        let session = session.map_err(refused())?;
        session.handle().connected().await.map_err(refused())?;
        Ok::<_, TargetError>(Seat {
            client,
            cursor: session.cursor(),
            session: Some(session),
        })
    });
    let opened: Vec<_> = opening.buffered(OPENING_MAX).collect().await;
    let mut seats = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut groups = Vec::new();
    for (seats, users) in seats.chunks(MEMBERS).zip(users.chunks(MEMBERS)) {
        let speaker = seats[0].client.clone();
        let made = speaker.create_group("crowd", users[1..].to_vec()).await;
        let made = made.map_err(refused())?;
        groups.push((speaker, conversation::id_of(&made)?));
    }
    for seat in &mut seats {
        let session = seat.session.as_mut();
        let first = async {
            match session {
                Some(session) => until_event(session).await,
                None => false,
            }
        };
        if !timeout(RESUMED_WITHIN, first).await.unwrap_or(false) {
            let error = heddle_sdk::Error::disconnected();
            return Err(refused()(error));
        }
    }
    Ok((seats, groups))
}

async fn until_event(session: &mut Session) -> bool {
    while let Some(update) = session.next().await {
        if matches!(update, Update::Event(_)) {
            return true;
        }
    }
    false
}

/// How long all took to come back, if they did in time.
async fn return_all(mut seats: Vec<Seat>) -> (Vec<Seat>, Option<Duration>) {
    let begun = Instant::now();
    let returning = stream::iter(&mut seats)
        .map(back)
        .buffer_unordered(SESSIONS);
    let back = returning.filter(|it| std::future::ready(*it)).count();
    let count = timeout(RESUMED_WITHIN, back).await;
    let all = count.is_ok_and(|count| count == SESSIONS);
    (seats, all.then(|| begun.elapsed()))
}

/// Whether the device resumed and got what it missed.
async fn back(seat: &mut Seat) -> bool {
    let opening = seat.client.session().resume(seat.cursor);
    let Ok(mut session) = opening.backoff(Target::backoff()).open().await else {
        return false;
    };
    let mut resumed = false;
    while let Some(update) = session.next().await {
        match update {
            Update::Connected(opened) => resumed = opened.outcome() == ResumeOutcome::Resumed,
            update if resumed && brings_message(&update) => {
                seat.session = Some(session);
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Of each gateway, in bytes.
fn memory(cluster: &Cluster) -> Result<Vec<u64>, FaultError> {
    let gateways = cluster.names("gateway/").into_iter();
    let pids = gateways.filter_map(|name| cluster.process(&name)?.pid());
    let measure = |pid| ProcessStat::of(pid).map(|stat| stat.rss_bytes);
    let measured: Result<_, _> = pids.map(measure).collect();
    measured.map_err(|error| FaultError::Unfit(error.to_string()))
}
