//! How a node runs: its cassandra.yaml, its logging, its JVM.
//!
//! Small, and honest about durability: `commitlog_sync: group` acknowledges after fsync, as in
//! production. Invariant: everything it writes lies in its directory.

use std::net::Ipv4Addr;
use std::path::Path;

/// What differs between nodes.
pub struct Settings {
    /// Where it is.
    pub address: Ipv4Addr,
    /// All nodes of its ring, or it alone: whom it asks for the others.
    pub seeds: Vec<Ipv4Addr>,
    /// CQL.
    pub port: u16,
    /// Between nodes.
    pub storage_port: u16,
    /// C2, G1 and 2 GB of heap rather than a fast start.
    pub bench: bool,
    /// Where `nodetool` reaches it, on this machine only.
    pub jmx_port: Option<u16>,
    /// Whether it lives on after the program that started it.
    pub lives_on: bool,
}

/// How long writes are gathered before the commit log is synced.
pub const COMMIT_LOG_WINDOW_MS: u32 = 10;
/// A write parks a thread until its commit-log window closes, so there are many of them.
const CONCURRENT_WRITES: usize = 256;

/// cassandra.yaml.
pub fn yaml(dir: &Path, settings: &Settings) -> String {
    let Settings {
        port,
        storage_port,
        address,
        ..
    } = settings;
    let seeds = settings.seeds.iter();
    let seeds: Vec<_> = seeds.map(|seed| format!("{seed}:{storage_port}")).collect();
    let seeds = seeds.join(",");
    let dir = dir.display();
    format!(
        "cluster_name: heddle-test
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{ seeds: \"{seeds}\" }}]
listen_address: {address}
rpc_address: {address}
storage_port: {storage_port}
native_transport_port: {port}
start_native_transport: true
auto_bootstrap: false
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
data_file_directories: [\"{dir}/data\"]
commitlog_directory: {dir}/commitlog
saved_caches_directory: {dir}/saved_caches
hints_directory: {dir}/hints
cdc_raw_directory: {dir}/cdc_raw
commitlog_sync: group
commitlog_sync_group_window: {COMMIT_LOG_WINDOW_MS}ms
commitlog_segment_size: 8MiB
commitlog_total_space: 256MiB
memtable_heap_space: 128MiB
memtable_offheap_space: 128MiB
memtable_allocation_type: heap_buffers
key_cache_size: 16MiB
counter_cache_size: 8MiB
file_cache_size: 32MiB
networking_cache_size: 32MiB
concurrent_reads: 16
concurrent_writes: {CONCURRENT_WRITES}
concurrent_counter_writes: 8
concurrent_compactors: 1
compaction_throughput: 64MiB/s
auto_snapshot: false
incremental_backups: false
row_cache_size: 0MiB
trickle_fsync: false
storage_compatibility_mode: NONE
uuid_sstable_identifiers_enabled: true
"
    )
}

/// logback.xml.
pub fn logging(dir: &Path) -> String {
    format!(
        "<configuration><appender name=\"F\" class=\"ch.qos.logback.core.FileAppender\">\
         <file>{}/system.log</file>\
         <encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder>\
         </appender><root level=\"INFO\"><appender-ref ref=\"F\"/></root></configuration>\n",
        dir.display()
    )
}

/// What the JVM is started with, up to the class path.
pub fn jvm(dir: &Path, settings: &Settings) -> Vec<String> {
    let machine = if settings.bench { MEASURED } else { SMALL };
    let dir = dir.display();
    let own = [
        format!("-XX:ErrorFile={dir}/hs_err_%p.log"),
        format!("-Djava.io.tmpdir={dir}/tmp"),
        format!("-Djna.tmpdir={dir}/tmp"),
        format!("-Dcassandra.config=file://{dir}/conf/cassandra.yaml"),
        storage_dir(&dir.to_string()),
        format!("-Dcassandra.logdir={dir}"),
        format!("-Dlogback.configurationFile=file://{dir}/conf/logback.xml"),
    ];
    let flags = machine.iter().chain(FLAGS).map(|&flag| flag.to_owned());
    let jmx = settings.jmx_port.iter();
    let jmx = jmx.map(|port| format!("-Dcassandra.jmx.local.port={port}"));
    flags.chain(own).chain(jmx).chain(modules()).collect()
}

/// What any program of Cassandra needs of Java 17.
pub fn modules() -> impl Iterator<Item = String> {
    let exports = EXPORTS
        .iter()
        .flat_map(|name| opened("--add-exports", name));
    let opens = OPENS.iter().flat_map(|name| opened("--add-opens", name));
    exports.chain(opens)
}

/// The flag by which a process is known as this directory's node.
pub fn storage_dir(dir: &str) -> String {
    format!("-Dcassandra.storagedir={dir}")
}

fn opened(flag: &str, package: &str) -> [String; 2] {
    [flag.to_owned(), format!("{package}=ALL-UNNAMED")]
}

/// Starts fast and takes little.
const SMALL: &[&str] = &[
    "-Xms512M",
    "-Xmx512M",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
];
/// Room for what seconds of writes leave behind, as a node in service has: with a heap of 512 MB
/// G1 stopped it for 17 ms (at most 61) every two seconds.
const MEASURED: &[&str] = &[
    "-Xms2G",
    "-Xmx2G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=50",
];
const FLAGS: &[&str] = &[
    "-Xss512k",
    "-XX:+PerfDisableSharedMem",
    "-XX:MaxDirectMemorySize=512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.maxOrder=11",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=2000",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.consistent.rangemovement=false",
];

/// What Cassandra 5 reaches into on Java 17.
const EXPORTS: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.attach/sun.tools.attach",
];
const OPENS: &[&str] = &[
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "jdk.compiler/com.sun.tools.javac",
];
