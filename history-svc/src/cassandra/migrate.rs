//! `history-svc migrate`: brings the schema up to date.
//!
//! May be run twice at once: one holds the lock, the other waits and finds nothing left to do.
//! Online: binaries of the release before go on working meanwhile.
//!
//! Invariant: what `schema_migrations` names has been done as a whole.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::config::CassandraConfig;
use super::driver::{Driver, Session};
use super::epoch::applied;
use super::preflight::datacenter;
use super::schema::{MIGRATIONS, Migration, VERSION};
use super::session::{ConnectError, ask};
use super::value::{NoRows, Value};

/// A lock left behind by a migration that died is over after this (seconds).
const LOCK_TTL_S: i32 = 300;
/// How long another one's lock is waited for.
const LOCK_WITHIN: Duration = Duration::from_secs(330);
const LOCK_RETRY: Duration = Duration::from_millis(300);
/// One change of a schema may take this long.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
const LOCK: &str = "migrating";
const DATACENTER: &str = "datacenter";

/// Brings the schema up to date; answers its version.
pub async fn migrate(driver: &dyn Driver, config: &CassandraConfig) -> Result<i32, ConnectError> {
    migrate_to(driver, config, VERSION).await
}

/// The same up to an older version, as its own binaries do; the suite starts from there.
pub(super) async fn migrate_to(
    driver: &dyn Driver,
    config: &CassandraConfig,
    to: i32,
) -> Result<i32, ConnectError> {
    check_name(&config.keyspace)?;
    let session = driver.connect(config, None).await?;
    let session = &*session;
    let here = datacenter(session, config).await?;
    prepare_keyspace(session, config, &here).await?;
    let holder = Uuid::new_v4().to_string();
    lock(session, config, &holder).await?;
    let migrated = run(session, config, &here, to).await;
    let unlock = format!(
        "DELETE FROM {}.schema_settings WHERE name = ? IF value = ?",
        config.keyspace
    );
    if let Err(error) = conditional(session, &unlock, &[LOCK.into(), holder.as_str().into()]).await
    {
        tracing::warn!(%error, "the lock of the migration stays until it expires");
    }
    migrated
}

async fn run(
    session: &dyn Session,
    config: &CassandraConfig,
    datacenter: &str,
    to: i32,
) -> Result<i32, ConnectError> {
    let done = versions(session, config).await?;
    refuse_newer(&done)?;
    let is_done = |step: &Migration| done.iter().any(|(version, _)| *version == step.version);
    let is_due = |step: &&Migration| step.version <= to && !is_done(step);
    for step in MIGRATIONS.iter().filter(is_due) {
        tracing::info!(version = step.version, about = step.about, "migrating");
        for text in (step.statements)(&config.keyspace) {
            change(session, &text).await?;
        }
        let done = format!(
            "INSERT INTO {}.schema_migrations (version, readers_from, about) VALUES (?, ?, ?)",
            config.keyspace
        );
        let values = [
            step.version.into(),
            step.readers_from.into(),
            step.about.into(),
        ];
        session.query(&done, &values, &mut NoRows).await?;
    }
    let pin = format!(
        "INSERT INTO {}.schema_settings (name, value) VALUES (?, ?) IF NOT EXISTS",
        config.keyspace
    );
    conditional(session, &pin, &[DATACENTER.into(), datacenter.into()]).await?;
    Ok(to)
}

/// The keyspace, and the two tables without which nothing can be locked. Their ids are fixed, so
/// that two who make them at once make the same.
async fn prepare_keyspace(
    session: &dyn Session,
    config: &CassandraConfig,
    datacenter: &str,
) -> Result<(), ConnectError> {
    let (keyspace, copies) = (&config.keyspace, config.replication_factor);
    change(
        session,
        &format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', '{datacenter}': {copies}}}"
        ),
    )
    .await?;
    for (table, columns) in [
        ("schema_settings", "name text PRIMARY KEY, value text"),
        (
            "schema_migrations",
            "version int PRIMARY KEY, readers_from int, about text",
        ),
    ] {
        let id = Uuid::new_v5(
            &Uuid::NAMESPACE_URL,
            format!("{keyspace}.{table}").as_bytes(),
        );
        let text =
            format!("CREATE TABLE IF NOT EXISTS {keyspace}.{table} ({columns}) WITH id = {id}");
        change(session, &text).await?;
    }
    Ok(())
}

async fn lock(
    session: &dyn Session,
    config: &CassandraConfig,
    holder: &str,
) -> Result<(), ConnectError> {
    let text = format!(
        "INSERT INTO {}.schema_settings (name, value) VALUES (?, ?) IF NOT EXISTS USING TTL \
         {LOCK_TTL_S}",
        config.keyspace
    );
    let deadline = Instant::now() + LOCK_WITHIN;
    let mut told = false;
    let values = [LOCK.into(), holder.into()];
    while !conditional(session, &text, &values).await? {
        if Instant::now() > deadline {
            return Err(ConnectError::Refused {
                field: "cassandra.keyspace",
                reason: format!("another migration holds the lock for {LOCK_WITHIN:?} already"),
            });
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("waiting for another migration to end");
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
    Ok(())
}

/// Refuses a schema that this binary does not know how to use.
pub async fn check_version(
    session: &dyn Session,
    config: &CassandraConfig,
) -> Result<(), ConnectError> {
    let done = versions(session, config)
        .await
        .map_err(|_| not_migrated(&config.keyspace))?;
    refuse_newer(&done)?;
    if !done.iter().any(|(version, _)| *version == VERSION) {
        return Err(not_migrated(&config.keyspace));
    }
    Ok(())
}

/// The datacentre that the schema was made for.
pub async fn pinned_datacenter(
    session: &dyn Session,
    config: &CassandraConfig,
) -> Result<Option<String>, ConnectError> {
    let text = format!(
        "SELECT value FROM {}.schema_settings WHERE name = '{DATACENTER}'",
        config.keyspace
    );
    let rows: Vec<(Option<String>,)> = ask(session, &text, &[]).await?;
    Ok(rows.into_iter().next().and_then(|(value,)| value))
}

/// There is no schema, or an older one.
pub fn not_migrated(keyspace: &str) -> ConnectError {
    ConnectError::NotMigrated {
        keyspace: keyspace.to_owned(),
        version: VERSION,
    }
}

async fn versions(
    session: &dyn Session,
    config: &CassandraConfig,
) -> Result<Vec<(i32, i32)>, ConnectError> {
    let text = format!(
        "SELECT version, readers_from FROM {}.schema_migrations",
        config.keyspace
    );
    Ok(ask(session, &text, &[]).await?)
}

/// A later release may have made a schema that this binary would misread.
fn refuse_newer(done: &[(i32, i32)]) -> Result<(), ConnectError> {
    match done
        .iter()
        .find(|(_, readers_from)| *readers_from > VERSION)
    {
        None => Ok(()),
        Some((version, readers_from)) => Err(ConnectError::Refused {
            field: "cassandra.keyspace",
            reason: format!(
                "its schema is version {version} and needs binaries of version {readers_from}, \
                 this one is {VERSION}: use a newer one"
            ),
        }),
    }
}

/// Names are put into statements as they are.
fn check_name(keyspace: &str) -> Result<(), ConnectError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = keyspace.starts_with(|c: char| c.is_ascii_lowercase());
    if starts && keyspace.len() <= 48 && keyspace.chars().all(allowed) {
        return Ok(());
    }
    Err(ConnectError::Refused {
        field: "cassandra.keyspace",
        reason: "a letter, then letters, digits and _ in lower case, at most 48".to_owned(),
    })
}

async fn change(session: &dyn Session, text: &str) -> Result<(), ConnectError> {
    Ok(session.change(text, CHANGE_TIMEOUT).await?)
}

/// A conditional statement; whether it was applied.
async fn conditional(
    session: &dyn Session,
    text: &str,
    values: &[Value<'_>],
) -> Result<bool, ConnectError> {
    Ok(applied(&ask(session, text, values).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_used_only_if_it_allows_it() {
        assert!(refuse_newer(&[(VERSION, VERSION), (VERSION + 1, VERSION)]).is_ok());
        let refused = refuse_newer(&[(VERSION + 2, VERSION + 1)]).unwrap_err();
        assert!(refused.to_string().contains("use a newer one"), "{refused}");
    }

    #[test]
    fn names_that_would_change_a_statement_are_refused() {
        for wrong in ["", "1a", "a.b", "a b", "A", "a;", &"a".repeat(49)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        check_name("heddle_2").unwrap();
    }
}
