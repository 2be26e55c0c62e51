//! Plan: which processes a cluster on one machine has, where each listens, and what each is told.
//!
//! Pure, and the one place that knows it: `cargo xtask cluster`, the lab's fault suites and the
//! scenarios start what is planned here.
//!
//! Invariant: every address that a process is told is one where another of the plan listens.

/// Shards of the cluster, whatever the number of chat nodes: it must not change on a store.
pub const SHARDS: u32 = 16;
/// Copies below which history-svc wants to be told that a loss is accepted.
const COPIES_SAFE: usize = 3;

/// How many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// history-svc; more than one over Cassandra only.
    pub history: usize,
    /// presence-svc; more than one over Redis only.
    pub presence: usize,
    /// notify-svc.
    pub notify: usize,
    /// Chat nodes, which share the shards.
    pub chat: usize,
    /// Gateways.
    pub gateway: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            history: 2,
            presence: 2,
            notify: 2,
            chat: 3,
            gateway: 2,
        }
    }
}

/// Where the services keep what they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stores {
    /// The directory for what is kept in files.
    pub dir: String,
    /// Nodes of Cassandra, as host:port; none: events lie in a file store of the one history-svc.
    pub cassandra: Vec<String>,
    /// The keyspace, where it is not the default.
    pub keyspace: Option<String>,
    /// Redis, as URLs; none: presence is in the memory of the one presence-svc.
    pub redis: Vec<String>,
    /// How gateways check tokens: a setting.
    pub auth: String,
}

impl Size {
    /// As many as the stores allow: an embedded one has one process.
    pub fn over(self, stores: &Stores) -> Self {
        let one_if = |alone: bool, count: usize| if alone { 1 } else { count };
        Self {
            history: one_if(stores.cassandra.is_empty(), self.history),
            presence: one_if(stores.redis.is_empty(), self.presence),
            ..self
        }
    }
}

/// Where everything listens, all on 127.0.0.1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// history-svc.
    pub history: Vec<u16>,
    /// presence-svc.
    pub presence: Vec<u16>,
    /// notify-svc.
    pub notify: Vec<u16>,
    /// Chat nodes.
    pub chat: Vec<u16>,
    /// Gateways.
    pub gateway: Vec<u16>,
}

impl Ports {
    /// A port for each, by `free`, which is told the service.
    pub fn choose<E>(size: Size, mut free: impl FnMut(&str) -> Result<u16, E>) -> Result<Self, E> {
        let mut some = |service: &str, count: usize| -> Result<Vec<u16>, E> {
            (0..count).map(|_| free(service)).collect()
        };
        Ok(Self {
            gateway: some("gateway", size.gateway)?,
            history: some("history-svc", size.history)?,
            presence: some("presence-svc", size.presence)?,
            notify: some("notify-svc", size.notify)?,
            chat: some("chat-svc", size.chat)?,
        })
    }
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

/// Where a port of this machine is.
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A setting whose value is a text.
pub fn text(field: &str, value: &str) -> String {
    format!("{field}=\"{value}\"")
}

fn list(field: &str, values: impl IntoIterator<Item = String>) -> String {
    let quoted: Vec<_> = values.into_iter().map(|it| format!("\"{it}\"")).collect();
    format!("{field}=[{}]", quoted.join(","))
}

fn urls(field: &str, ports: &[u16]) -> String {
    list(field, ports.iter().map(|port| url(*port)))
}

/// The processes, in the order in which they are started (any would do).
pub fn services(ports: &Ports, stores: &Stores) -> Vec<Service> {
    let mut services = Vec::new();
    let mut add = |binary, ports: &[u16], settings: &dyn Fn(usize) -> Vec<String>| {
        for (number, port) in (1..).zip(ports) {
            let mut settings = settings(number);
            settings.push(text("listen", &format!("127.0.0.1:{port}")));
            services.push(Service {
                name: format!("{binary}/{number}"),
                binary,
                port: *port,
                settings,
            });
        }
    };
    add("history-svc", &ports.history, &|_| history(stores));
    add("notify-svc", &ports.notify, &|_| Vec::new());
    add("presence-svc", &ports.presence, &|number| {
        presence(stores, number)
    });
    add("chat-svc", &ports.chat, &|number| {
        vec![
            urls("history_urls", &ports.history),
            urls("notify_urls", &ports.notify),
            text("chat.node", &format!("chat-{number}")),
            format!("chat.shards={SHARDS}"),
        ]
    });
    add("gateway", &ports.gateway, &|number| {
        vec![
            text("gateway.public_url", &url(ports.gateway[number - 1])),
            urls("chat_urls", &ports.chat),
            urls("history_urls", &ports.history),
            urls("presence_urls", &ports.presence),
            stores.auth.clone(),
        ]
    });
    services
}

fn history(stores: &Stores) -> Vec<String> {
    if stores.cassandra.is_empty() {
        return vec![text("history.data_dir", &format!("{}/history", stores.dir))];
    }
    let copies = stores.cassandra.len();
    let mut settings = vec![
        text("store", "cassandra"),
        list("cassandra.nodes", stores.cassandra.iter().cloned()),
        format!("cassandra.replication_factor={copies}"),
        "cassandra.migrate_at_start=true".to_owned(),
    ];
    if copies < COPIES_SAFE {
        settings.push("cassandra.accept_low_replication=true".to_owned());
    }
    let keyspace = stores.keyspace.as_ref();
    settings.extend(keyspace.map(|name| text("cassandra.keyspace", name)));
    settings
}

fn presence(stores: &Stores, number: usize) -> Vec<String> {
    let data = format!("{}/presence-{number}", stores.dir);
    let mut settings = vec![text("presence.data_dir", &data)];
    if !stores.redis.is_empty() {
        settings.push(list("presence.redis_urls", stores.redis.iter().cloned()));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(cassandra: usize, redis: bool) -> Vec<Service> {
        let stores = Stores {
            dir: "/data".into(),
            cassandra: (1..=cassandra)
                .map(|it| format!("127.0.0.{it}:9"))
                .collect(),
            keyspace: None,
            redis: redis
                .then(|| "redis://127.0.0.1:8".to_owned())
                .into_iter()
                .collect(),
            auth: text("gateway.auth.key_file", "/data/key.pem"),
        };
        let mut next = 0;
        let free = |_: &str| {
            next += 1;
            Ok::<_, ()>(next)
        };
        let ports = Ports::choose(Size::default().over(&stores), free).unwrap();
        services(&ports, &stores)
    }

    fn told<'a>(services: &'a [Service], name: &str) -> &'a Service {
        services.iter().find(|it| it.name == name).unwrap()
    }

    #[test]
    fn everybody_is_told_where_all_the_others_are() {
        let services = planned(3, true);
        assert_eq!(services.len(), 11);
        let urls = |field: &str, binary: &str| {
            let of = services.iter().filter(|it| it.binary == binary);
            list(field, of.map(|it| url(it.port)))
        };
        let (chat, gateway) = (told(&services, "chat-svc/3"), told(&services, "gateway/2"));
        assert!(chat.settings.contains(&urls("history_urls", "history-svc")));
        assert!(chat.settings.contains(&urls("notify_urls", "notify-svc")));
        assert!(gateway.settings.contains(&urls("chat_urls", "chat-svc")));
        assert!(
            gateway
                .settings
                .contains(&urls("history_urls", "history-svc"))
        );
        assert!(
            gateway
                .settings
                .contains(&urls("presence_urls", "presence-svc"))
        );
        let public = text("gateway.public_url", &url(gateway.port));
        assert!(gateway.settings.contains(&public));
        let listen = text("listen", &format!("127.0.0.1:{}", gateway.port));
        assert!(gateway.settings.contains(&listen));
    }

    #[test]
    fn an_embedded_store_has_one_process() {
        let services = planned(0, false);
        assert_eq!(services.len(), 1 + 2 + 1 + 3 + 2);
        let history = &told(&services, "history-svc/1").settings;
        assert!(history.contains(&text("history.data_dir", "/data/history")));
        let presence = told(&services, "presence-svc/1").settings.join(" ");
        assert!(!presence.contains("redis"));
    }

    #[test]
    fn few_copies_are_accepted_by_name_and_three_need_no_word() {
        let low = "cassandra.accept_low_replication=true".to_owned();
        for (nodes, accepted) in [(1, true), (3, false)] {
            let services = planned(nodes, true);
            let settings = &told(&services, "history-svc/2").settings;
            assert_eq!(settings.contains(&low), accepted);
            assert!(settings.contains(&format!("cassandra.replication_factor={nodes}")));
        }
    }
}
