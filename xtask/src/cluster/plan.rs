//! Plan: which processes a cluster has, where each listens, and what each is told.
//!
//! Pure: [`super`] chooses the ports and starts what is planned here.
//!
//! Invariant: every address that a process is told is one where another of the plan listens.

use std::path::Path;

/// Shards of the cluster, whatever the number of chat nodes: it must not change on a store.
const SHARDS: u32 = 16;

/// How many of each, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// A node of Cassandra; without one history-svc keeps its events in an embedded store.
    pub cassandra: bool,
    /// Redis; without it presence-svc keeps what it knows in memory.
    pub redis: bool,
    /// Chat nodes, which share the shards.
    pub chat: usize,
    /// Gateways.
    pub gateway: usize,
}

/// Where everything listens, all on 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// CQL.
    pub cassandra: u16,
    /// Redis.
    pub redis: u16,
    /// history-svc.
    pub history: u16,
    /// presence-svc.
    pub presence: u16,
    /// notify-svc.
    pub notify: u16,
    /// Chat nodes.
    pub chat: Vec<u16>,
    /// Gateways.
    pub gateway: Vec<u16>,
}

/// One process of Heddle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Such as `chat-svc/2`.
    pub name: String,
    /// The program.
    pub binary: &'static str,
    /// Where it listens.
    pub port: u16,
    /// What it is told, each `field=value`.
    pub settings: Vec<String>,
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn list(urls: impl Iterator<Item = String>) -> String {
    let quoted: Vec<_> = urls.map(|url| format!("\"{url}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn text(field: &str, value: &str) -> String {
    format!("{field}=\"{value}\"")
}

/// The processes, in the order in which they are started (any would do). Data lies below `data`,
/// where the key that gateways check tokens with is too.
pub fn services(size: Size, ports: &Ports, data: &Path) -> Vec<Service> {
    let data = data.display().to_string();
    let mut services = vec![
        service("history-svc", 1, ports.history, history(size, ports, &data)),
        service("notify-svc", 1, ports.notify, Vec::new()),
        service(
            "presence-svc",
            1,
            ports.presence,
            presence(size, ports, &data),
        ),
    ];
    for (number, port) in (1..).zip(&ports.chat) {
        let settings = vec![
            format!("history_urls=[\"{}\"]", url(ports.history)),
            format!("notify_urls=[\"{}\"]", url(ports.notify)),
            text("chat.node", &format!("chat-{number}")),
            format!("chat.shards={SHARDS}"),
        ];
        services.push(service("chat-svc", number, *port, settings));
    }
    let chat_urls = list(ports.chat.iter().map(|port| url(*port)));
    for (number, port) in (1..).zip(&ports.gateway) {
        let settings = vec![
            format!("chat_urls={chat_urls}"),
            format!("history_urls=[\"{}\"]", url(ports.history)),
            format!("presence_urls=[\"{}\"]", url(ports.presence)),
            text(
                "gateway.auth.key_file",
                &format!("{data}/signing-key.pub.pem"),
            ),
        ];
        services.push(service("gateway", number, *port, settings));
    }
    services
}

fn service(binary: &'static str, number: usize, port: u16, mut settings: Vec<String>) -> Service {
    settings.push(text("listen", &format!("127.0.0.1:{port}")));
    let name = format!("{binary}/{number}");
    Service {
        name,
        binary,
        port,
        settings,
    }
}

fn history(size: Size, ports: &Ports, data: &str) -> Vec<String> {
    if !size.cassandra {
        return vec![text("history.data_dir", &format!("{data}/history"))];
    }
    let node = format!("127.0.0.1:{}", ports.cassandra);
    vec![
        text("store", "cassandra"),
        format!("cassandra.nodes=[\"{node}\"]"),
        "cassandra.replication_factor=1".to_owned(),
        "cassandra.accept_low_replication=true".to_owned(),
        "cassandra.migrate_at_start=true".to_owned(),
    ]
}

fn presence(size: Size, ports: &Ports, data: &str) -> Vec<String> {
    let mut settings = vec![text("presence.data_dir", &format!("{data}/presence"))];
    if size.redis {
        let url = format!("redis://127.0.0.1:{}", ports.redis);
        settings.push(format!("presence.redis_urls=[\"{url}\"]"));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(cassandra: bool, redis: bool) -> Vec<Service> {
        let size = Size {
            cassandra,
            redis,
            chat: 3,
            gateway: 2,
        };
        let ports = Ports {
            cassandra: 1,
            redis: 2,
            history: 3,
            presence: 4,
            notify: 5,
            chat: vec![6, 7, 8],
            gateway: vec![9, 10],
        };
        services(size, &ports, Path::new("/data"))
    }

    #[test]
    fn everybody_is_told_where_the_others_are() {
        let services = planned(true, true);
        let names: Vec<_> = services.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(
            names[..4],
            [
                "history-svc/1",
                "notify-svc/1",
                "presence-svc/1",
                "chat-svc/1"
            ]
        );
        let gateway = services.last().map(|it| it.settings.join(" "));
        let urls = "chat_urls=[\"http://127.0.0.1:6\", \"http://127.0.0.1:7\", \
                    \"http://127.0.0.1:8\"]";
        assert!(gateway.is_some_and(|it| it.contains(urls) && it.contains("127.0.0.1:10")));
    }

    #[test]
    fn without_the_engines_data_lies_in_files() {
        let told = |services: &[Service], at: usize| services[at].settings.join(" ");
        let (with, without) = (planned(true, true), planned(false, false));
        assert!(told(&with, 0).contains("store=\"cassandra\""));
        assert!(told(&without, 0).contains("history.data_dir=\"/data/history\""));
        assert!(told(&with, 2).contains("redis://127.0.0.1:2"));
        assert!(!told(&without, 2).contains("redis"));
    }
}
