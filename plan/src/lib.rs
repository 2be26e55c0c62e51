//! Plan: which processes a cluster on one machine has, where each listens, and what each is told.
//!
//! Pure, and the one place that knows it: `cargo xtask cluster`, the lab's fault suites and the
//! scenarios start what is planned here.
//!
//! All is on this machine: on loopback and in the clear, or, with certificates, at any address of
//! it.
//!
//! Invariant: every address that a process is told is one where another of the plan listens.

use std::net::{Ipv4Addr, SocketAddr};

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
    /// The directory of what `heddle certs` made; none: services speak in the clear, which they do
    /// on loopback only.
    pub certificates: Option<String>,
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

/// Where everything listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// history-svc.
    pub history: Vec<SocketAddr>,
    /// presence-svc.
    pub presence: Vec<SocketAddr>,
    /// notify-svc.
    pub notify: Vec<SocketAddr>,
    /// Chat nodes.
    pub chat: Vec<SocketAddr>,
    /// Gateways.
    pub gateway: Vec<SocketAddr>,
}

impl Places {
    /// A place for each, by `free`, which is told the service.
    pub fn choose<E>(
        size: Size,
        mut free: impl FnMut(&str) -> Result<SocketAddr, E>,
    ) -> Result<Self, E> {
        let mut some = |service: &str, count: usize| -> Result<Vec<SocketAddr>, E> {
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
    pub address: SocketAddr,
    /// What it is told, each `field=value`.
    pub settings: Vec<String>,
}

/// A port of 127.0.0.1.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Where clients find a gateway.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A setting whose value is a text.
pub fn text(field: &str, value: &str) -> String {
    format!("{field}=\"{value}\"")
}

fn list(field: &str, values: impl IntoIterator<Item = String>) -> String {
    let quoted: Vec<_> = values.into_iter().map(|it| format!("\"{it}\"")).collect();
    format!("{field}=[{}]", quoted.join(","))
}

/// Where services find each other.
fn urls(field: &str, stores: &Stores, places: &[SocketAddr]) -> String {
    let url = |address: &SocketAddr| match stores.certificates {
        Some(_) => format!("https://{address}"),
        None => url(*address),
    };
    list(field, places.iter().map(url))
}

/// The processes, in the order in which they are started (any would do).
pub fn services(places: &Places, stores: &Stores) -> Vec<Service> {
    let mut services = Vec::new();
    let urls = |field, places| urls(field, stores, places);
    let mut add = |binary, places: &[SocketAddr], settings: &dyn Fn(usize) -> Vec<String>| {
        for (number, address) in (1..).zip(places) {
            let mut settings = settings(number);
            settings.push(text("listen", &address.to_string()));
            settings.extend(tls(stores, binary));
            services.push(Service {
                name: format!("{binary}/{number}"),
                binary,
                address: *address,
                settings,
            });
        }
    };
    add("history-svc", &places.history, &|_| history(stores));
    add("notify-svc", &places.notify, &|_| Vec::new());
    add("presence-svc", &places.presence, &|number| {
        presence(stores, number)
    });
    add("chat-svc", &places.chat, &|number| {
        vec![
            urls("history_urls", &places.history),
            urls("notify_urls", &places.notify),
            text("chat.node", &format!("chat-{number}")),
            format!("chat.shards={SHARDS}"),
        ]
    });
    add("gateway", &places.gateway, &|number| {
        vec![
            text("gateway.public_url", &url(places.gateway[number - 1])),
            urls("chat_urls", &places.chat),
            urls("history_urls", &places.history),
            urls("presence_urls", &places.presence),
            stores.auth.clone(),
        ]
    });
    services
}

/// What a service is told of its certificate; a gateway has another for clients, or none.
fn tls(stores: &Stores, binary: &str) -> Vec<String> {
    let Some(dir) = &stores.certificates else {
        return Vec::new();
    };
    let section = match binary {
        "gateway" => "link_tls",
        _ => "tls",
    };
    let file =
        |field: &str, name: &str| text(&format!("{section}.{field}"), &format!("{dir}/{name}"));
    vec![
        file("certificate", &format!("{binary}.pem")),
        file("key", &format!("{binary}.key")),
        file("ca", "ca.pem"),
    ]
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
        planned_with(cassandra, redis, None)
    }

    fn planned_with(cassandra: usize, redis: bool, certificates: Option<String>) -> Vec<Service> {
        let stores = Stores {
            certificates,
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
            Ok::<_, ()>(loopback(next))
        };
        let places = Places::choose(Size::default().over(&stores), free).unwrap();
        services(&places, &stores)
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
            list(field, of.map(|it| url(it.address)))
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
        let public = text("gateway.public_url", &url(gateway.address));
        assert!(gateway.settings.contains(&public));
        let listen = text("listen", &gateway.address.to_string());
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
    #[test]
    fn with_certificates_services_speak_tls_to_each_other() {
        let services = planned_with(0, false, Some("/certs".into()));
        let (chat, gateway) = (told(&services, "chat-svc/1"), told(&services, "gateway/1"));
        let authority = |section: &str| text(&format!("{section}.ca"), "/certs/ca.pem");
        assert!(chat.settings.contains(&authority("tls")));
        assert!(gateway.settings.contains(&authority("link_tls")));
        let urls = chat.settings.iter().filter(|it| it.contains("_urls="));
        assert!(urls.clone().count() == 2 && urls.clone().all(|it| it.contains("https://")));
    }
}
