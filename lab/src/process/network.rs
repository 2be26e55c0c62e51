//! A network of the lab's own, in which links between processes can be cut.
//!
//! The lab goes on in a network namespace of its own ([`enter`]): engines stay there, and services
//! that nobody is cut off from by themselves. Each of the others stands in a namespace apart,
//! behind the lab's, which routes. A cut is a rule of that router: it drops, in silence, what goes
//! from one address to another, so that it may be one way.
//!
//! Invariant: the machine's own network is not touched, and all of this ends with the lab.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Tells this program that it is within.
const ENTERED: &str = "HEDDLE_LAB_NETWORK";
/// The router, as the namespaces know it.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The network of those that stay with the router.
const HERE: u8 = 1;
/// The network of those that are apart.
const APART: u8 = 2;
/// Everybody has an address of its own, so that the port may be the same.
const PORT: u16 = 7400;
/// Where cuts stand among the router's rules: before the addresses that are its own.
const CUT: &str = "10";
const OWN_ADDRESSES: &str = "100";
/// How long a namespace may take to come into being.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(5);

/// Goes on in a network namespace of the lab's own: this program is started again there, with the
/// same arguments. Returns when it is there. Takes root, `unshare`, `nsenter` and `ip`; the error
/// says what is missing.
pub fn enter() -> io::Result<()> {
    if std::env::var_os(ENTERED).is_some() {
        return Ok(());
    }
    for (program, argument) in [("ip", "-V"), ("nsenter", "--version")] {
        run(program, [argument])?;
    }
    run("unshare", ["--net", "true"])?;
    let mut again = Command::new("unshare");
    again.arg("--net").arg(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(ENTERED, "1");
    Err(again.exec())
}

/// Namespaces, addresses and cuts.
#[derive(Debug)]
pub struct Network {
    apart: Vec<Namespace>,
    here: u8,
    cuts: Vec<(IpAddr, IpAddr)>,
}

impl Network {
    /// Makes a router of the namespace that this process has entered.
    pub fn begin() -> io::Result<Self> {
        if std::env::var_os(ENTERED).is_none() {
            return Err(io::Error::other("the lab has no network of its own"));
        }
        ip("link set lo up")?;
        ip(&format!("addr add {ROUTER}/32 dev lo"))?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        // Rules are asked in order, and those that stay with the router are to be cut off too.
        ip(&format!("rule add pref {OWN_ADDRESSES} lookup local"))?;
        ip("rule del pref 0")?;
        Ok(Self {
            apart: Vec::new(),
            here: 0,
            cuts: Vec::new(),
        })
    }

    /// A place with the router.
    pub fn here(&mut self) -> io::Result<SocketAddr> {
        self.here += 1;
        let address = Ipv4Addr::new(10, 77, HERE, self.here);
        ip(&format!("addr add {address}/32 dev lo"))?;
        Ok((address, PORT).into())
    }

    /// A place in a namespace of its own.
    pub fn apart(&mut self) -> io::Result<SocketAddr> {
        let number = u8::try_from(self.apart.len() + 1).map_err(io::Error::other)?;
        let namespace = Namespace::begin(number)?;
        let address = namespace.address;
        self.apart.push(namespace);
        Ok((address, PORT).into())
    }

    /// What goes before a program so that it runs at this address.
    pub fn within(&self, address: IpAddr) -> Vec<String> {
        let namespace = self.apart.iter().find(|it| it.address == address);
        let enter = |it: &Namespace| vec!["nsenter".to_owned(), it.enter()];
        namespace.map_or_else(Vec::new, enter)
    }

    /// From now on nothing that one address sends reaches the other; what that one sends does.
    pub fn cut(&mut self, from: IpAddr, to: IpAddr) -> io::Result<()> {
        ip(&format!(
            "rule add pref {CUT} from {from} to {to} blackhole"
        ))?;
        self.cuts.push((from, to));
        Ok(())
    }

    /// All links are whole again.
    pub fn heal(&mut self) -> io::Result<()> {
        for (from, to) in self.cuts.drain(..) {
            ip(&format!(
                "rule del pref {CUT} from {from} to {to} blackhole"
            ))?;
        }
        Ok(())
    }
}

/// A network namespace, which lives as long as a process that waits in it.
#[derive(Debug)]
struct Namespace {
    address: IpAddr,
    /// Ends with its standard input, so with the lab.
    waits: Child,
}

impl Namespace {
    fn begin(number: u8) -> io::Result<Self> {
        let mut waits = Command::new("unshare");
        waits.args(["--net", "cat"]).stdin(Stdio::piped());
        let namespace = Self {
            address: Ipv4Addr::new(10, 77, APART, number).into(),
            waits: waits.stdout(Stdio::null()).spawn()?,
        };
        namespace.is_apart()?;
        let (address, process) = (namespace.address, namespace.waits.id());
        let link = format!("apart{number}");
        ip(&format!(
            "link add {link} type veth peer name eth0 netns {process}"
        ))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!("route add {address}/32 dev {link} src {ROUTER}"))?;
        for words in [
            "link set lo up".to_owned(),
            format!("addr add {address}/32 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add {ROUTER}/32 dev eth0"),
            format!("route add default via {ROUTER} dev eth0 src {address}"),
        ] {
            let enter = namespace.enter();
            run(
                "nsenter",
                [enter.as_str(), "ip"].into_iter().chain(words.split(' ')),
            )?;
        }
        Ok(namespace)
    }

    /// Returns once the process is in a namespace of its own.
    fn is_apart(&self) -> io::Result<()> {
        let of =
            |process: &str| std::fs::read_link(Path::new("/proc").join(process).join("ns/net"));
        let ours = of("self")?;
        let deadline = Instant::now() + NAMESPACE_TIMEOUT;
        while of(&self.waits.id().to_string())? == ours {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn enter(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.waits.id())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Fails only for a process that has ended; `wait` reaps it all the same.
        let _ = self.waits.kill();
        let _ = self.waits.wait();
    }
}

fn ip(words: &str) -> io::Result<()> {
    run("ip", words.split(' '))
}

fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> io::Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output =
        output.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", said.trim())))
}
