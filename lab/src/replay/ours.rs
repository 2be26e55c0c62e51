//! What a replay runs against where it is ours: a server of one process, or a cluster.
//!
//! Of a cluster one process is killed at a time, so that each service has its turn.
//!
//! Invariant: what is started again has the ports and the data that it had.

use std::collections::BTreeSet;

use heddle_plan::Size;

use super::{ReplayError, ReplayOptions};
use crate::faults::cycles::Shape;
use crate::target::cluster::{Cluster, programs};
use crate::target::{HeddleServer, ServerOptions, Target, TargetError};

/// A server of our own.
pub enum Ours {
    /// One process.
    Server(HeddleServer),
    /// Several.
    Cluster(Cluster),
}

impl Ours {
    /// What to drive, and what of it is ours; a group may have so many members.
    pub async fn open(
        options: &ReplayOptions,
        members_max: usize,
    ) -> Result<(Target, Option<Ours>), ReplayError> {
        if options.shape == Shape::One {
            let limits = ServerOptions::default().group_members_max(members_max);
            let (target, server) = options.target.open(limits).await?;
            return Ok((target, server.map(Ours::Server)));
        }
        let programs = programs(options.target.program.as_deref())?;
        let members_max = members_max.max(100);
        // Gateways tell and refuse early, chat nodes decide.
        let settings = [
            ("gateway", "gateway.limits.group_members_max"),
            ("chat-svc", "chat.group_members_max"),
        ]
        .map(|(service, name)| (service, format!("{name}={members_max}")));
        let cluster = Cluster::start_with(&programs, Size::default(), &settings, None).await?;
        eprintln!("{} processes, {}", cluster.len(), cluster.stores());
        Ok((cluster.target().clone(), Some(Ours::Cluster(cluster))))
    }

    /// SIGKILL, for the time with this number; what was killed.
    pub fn kill(&mut self, number: usize) -> String {
        match self {
            Ours::Server(server) => {
                server.kill();
                "heddle".to_owned()
            }
            Ours::Cluster(cluster) => {
                // Engines come after the services, and are not ours to take in turn.
                let mut names = cluster.names("");
                names.truncate(cluster.len());
                cluster.kill(turn(&names, number)).unwrap_or_default()
            }
        }
    }

    /// Starts again what does not run.
    pub async fn restart(&mut self) -> Result<(), TargetError> {
        match self {
            Ours::Server(server) => server.restart().await,
            Ours::Cluster(cluster) => cluster.restart().await,
        }
    }
}

/// Whose turn it is: one service after the other, and of each one process after the other.
fn turn(names: &[String], number: usize) -> usize {
    let service = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let services: BTreeSet<String> = names.iter().map(|name| service(name)).collect();
    let Some(chosen) = services.iter().nth(number % services.len().max(1)) else {
        return 0;
    };
    let processes = (0..names.len()).filter(|index| service(&names[*index]) == *chosen);
    let processes: Vec<_> = processes.collect();
    processes[number / services.len() % processes.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_turn_and_each_process_of_it() {
        let names = ["chat-svc/1", "chat-svc/2", "gateway/1", "notify-svc/1"];
        let names = names.map(str::to_owned);
        let turns: Vec<_> = (0..7).map(|number| turn(&names, number)).collect();
        assert_eq!(turns, [0, 2, 3, 1, 2, 3, 0]);
    }
}
