//! The schema: tables, and the migrations that make them. Pure.
//!
//! One table per kind of projection, `(partition, clustering) -> value` (docs/adr/0002); a log's
//! rows by (log, bucket). Migrations only add, so that binaries of the release before go on
//! working while the new one starts.
//!
//! Invariant: a migration that was released is never changed; its number says its place.

use heddle_proto::internal::Table;

/// Events of one bucket, which is one partition. Fixed for ever: seqs are found by it.
pub const BUCKET_EVENTS: u64 = 4096;
/// Shards whose epochs lie in one partition, so that one read verifies them all.
pub const GROUP_SHARDS: u32 = 64;

/// The tables of the protocol and what they are called here.
pub const CELL_TABLES: &[(Table, &str)] = &[
    (Table::Conversations, "conversations"),
    (Table::Members, "members"),
    (Table::Overlays, "overlays"),
    (Table::Checkpoints, "checkpoints"),
    (Table::Hidden, "hidden"),
    (Table::Users, "users"),
    (Table::Devices, "devices"),
    (Table::Notes, "notes"),
    (Table::OldestWindows, "oldest_windows"),
    (Table::Anchors, "anchors"),
    (Table::DedupeStubs, "dedupe_stubs"),
    (Table::Stuck, "stuck"),
    (Table::DeviceCursors, "device_cursors"),
    (Table::Notices, "notices"),
    (Table::DeadLetters, "dead_letters"),
];

/// How many of them the first step made.
const FIRST_TABLES: usize = 13;

/// How long a dead letter is kept, in seconds: 30 days.
const DEAD_LETTERS_TTL_S: u32 = 2_592_000;
/// How long a note is kept, in seconds: 10 days, longer than any outage. None is ever deleted.
const NOTES_TTL_S: u32 = 864_000;

/// The bucket of a row is that of its first seq; its events may reach into the next one.
pub fn bucket(first_seq: u64) -> i64 {
    (first_seq.saturating_sub(1) / BUCKET_EVENTS) as i64
}

/// The partition of a shard's epoch.
pub fn group(shard: u32) -> i32 {
    (shard / GROUP_SHARDS) as i32
}

/// One step of the schema.
pub struct Migration {
    /// Its place, from 1.
    pub version: i32,
    /// What it brings.
    pub about: &'static str,
    /// The oldest version of the schema whose binaries work on what this one makes.
    pub readers_from: i32,
    /// Its statements, each of which may be run again.
    pub statements: fn(keyspace: &str) -> Vec<String>,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        about: "logs, epochs, projections",
        readers_from: 1,
        statements: first,
    },
    Migration {
        version: 2,
        about: "leases of chat nodes",
        readers_from: 1,
        statements: second,
    },
    Migration {
        version: 3,
        about: "what devices show, pushes that were given up",
        readers_from: 1,
        statements: third,
    },
    Migration {
        version: 4,
        about: "chat nodes that no gateway reaches",
        readers_from: 1,
        statements: fourth,
    },
    Migration {
        version: 5,
        about: "notes expire",
        readers_from: 1,
        statements: fifth,
    },
];

/// The version that this binary was written for.
pub const VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Old versions of a row are merged away whatever their write timestamps say: those are epochs, so
/// windows of time would mean nothing.
const COMPACTION: &str = "compaction = {'class': 'UnifiedCompactionStrategy'}";

const CELL_COLUMNS: &str = "partition blob, clustering blob, value blob, \
                            PRIMARY KEY ((partition), clustering)";

fn table(keyspace: &str, name: &str, columns: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}) WITH {COMPACTION}")
}

fn first(keyspace: &str) -> Vec<String> {
    let table = |name, columns| table(keyspace, name, columns);
    let mut statements = vec![
        table(
            "log",
            "log_id blob, bucket bigint, first_seq bigint, value blob, \
             PRIMARY KEY ((log_id, bucket), first_seq)",
        ),
        table(
            "log_anchors",
            "log_id blob PRIMARY KEY, committed_head bigint",
        ),
        table(
            "shards",
            "shard_group int, shard int, epoch bigint, raised_by bigint, \
             PRIMARY KEY ((shard_group), shard)",
        ),
    ];
    let cells = CELL_TABLES[..FIRST_TABLES].iter();
    let cells = cells.map(|(_, name)| table(name, CELL_COLUMNS));
    statements.extend(cells);
    statements
}

/// All leases are one partition, read as a whole. Its rows expire; they come back within a second,
/// so nobody needs their tombstones for long.
fn second(keyspace: &str) -> Vec<String> {
    vec![format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.nodes (pool int, node text, incarnation bigint, \
         ttl_ms int, address text, leaving boolean, owned frozen<list<int>>, \
         PRIMARY KEY ((pool), node, incarnation)) WITH {COMPACTION} AND gc_grace_seconds = 3600"
    )]
}

fn third(keyspace: &str) -> Vec<String> {
    let dead_letters = table(keyspace, "dead_letters", CELL_COLUMNS);
    vec![
        table(keyspace, "notices", CELL_COLUMNS),
        format!("{dead_letters} AND default_time_to_live = {DEAD_LETTERS_TTL_S}"),
    ]
}

fn fourth(keyspace: &str) -> Vec<String> {
    vec![format!(
        "ALTER TABLE {keyspace}.nodes ADD IF NOT EXISTS cut_off boolean"
    )]
}

fn fifth(keyspace: &str) -> Vec<String> {
    vec![format!(
        "ALTER TABLE {keyspace}.notes WITH default_time_to_live = {NOTES_TTL_S}"
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_protocol_has_its_own() {
        for number in 1..=64 {
            if let Ok(table) = Table::try_from(number) {
                let named = CELL_TABLES.iter().filter(|(known, _)| *known == table);
                assert_eq!(named.count(), 1, "{table:?}");
            }
        }
        let steps = MIGRATIONS.iter().flat_map(|step| (step.statements)("k"));
        let steps: Vec<_> = steps.collect();
        for (_, name) in CELL_TABLES {
            let made = |step: &&String| step.contains(&format!(" k.{name} ("));
            assert_eq!(steps.iter().filter(made).count(), 1, "{name} is made once");
        }
    }

    #[test]
    fn migrations_are_numbered_in_order_and_can_be_run_again() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, index as i32 + 1);
            assert!(migration.readers_from <= migration.version);
            for statement in (migration.statements)("k") {
                let sets = statement.starts_with("ALTER TABLE k.notes WITH ");
                assert!(sets || statement.contains(" IF NOT EXISTS "), "{statement}");
            }
        }
    }

    #[test]
    fn rows_lie_in_the_bucket_of_their_first_seq() {
        let seqs = [1, BUCKET_EVENTS, BUCKET_EVENTS + 1, 2 * BUCKET_EVENTS + 1];
        assert_eq!(seqs.map(bucket), [0, 0, 1, 2]);
        assert_eq!([63, 64].map(group), [0, 1]);
    }
}
