//! Snapshots: what a node had at one moment, as `nodetool snapshot` takes it, for the drill of a
//! restore.
//!
//! The copy has the tables of all keyspaces and nothing else: no commit log, so that nothing of
//! later comes back. `docs/operations.md` says how a ring is restored.
//!
//! Invariant: the copy is whole or not there.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{jars, settings};
use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::Repo;

/// What the snapshot is called while it is being copied.
const NAME: &str = "copied";

/// Takes one, and makes a directory of it that a node can be started in.
pub fn take(repo: &Repo, dir: &Path, jmx_port: u16, out: &Path) -> Outcome {
    if out.exists() {
        let out = out.display();
        return Err(Failure::wrong(format!("--out: {out} is there already")));
    }
    let dir = dir.canonicalize()?;
    nodetool(repo, &dir, jmx_port, &["snapshot", "-t", NAME])?;
    let partial = out.with_extension("partial");
    let copied = copy_tables(&dir.join("data"), &partial.join("data"));
    let cleared = nodetool(repo, &dir, jmx_port, &["clearsnapshot", "-t", NAME]);
    let count = copied?;
    cleared?;
    fs::rename(&partial, out)?;
    Ok(format!("{count} files in {}", out.display()))
}

/// `nodetool`, out of the server's own jars.
fn nodetool(repo: &Repo, dir: &Path, port: u16, words: &[&str]) -> Result<(), Failure> {
    let mut java = Command::new("java");
    java.args(settings::modules())
        // It keeps a history of commands at home.
        .arg(format!("-Duser.home={}", dir.join("tmp").display()))
        .arg(format!(
            "-Dlogback.configurationFile=file://{}/conf/logback.xml",
            dir.display()
        ))
        .env("CLASSPATH", jars::class_path(repo)?)
        .arg("org.apache.cassandra.tools.NodeTool")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(words);
    command::run(&mut java)
}

/// `keyspace/table/snapshots/NAME/*` becomes `keyspace/table/*`; how many files.
fn copy_tables(data: &Path, to: &Path) -> Result<usize, Failure> {
    let mut count = 0;
    for keyspace in fs::read_dir(data)? {
        let keyspace = keyspace?.path();
        for table in fs::read_dir(&keyspace)? {
            let table = table?.path();
            let snapshot = table.join("snapshots").join(NAME);
            if !snapshot.is_dir() {
                continue;
            }
            let name = |path: &Path| path.file_name().map(OsStr::to_owned).unwrap_or_default();
            let place = to.join(name(&keyspace)).join(name(&table));
            fs::create_dir_all(&place)?;
            for file in fs::read_dir(snapshot)? {
                let file = file?;
                if file.file_type()?.is_file() {
                    fs::copy(file.path(), place.join(file.file_name()))?;
                    count += 1;
                }
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_snapshot_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (data, to) = (dir.path().join("data"), dir.path().join("to"));
        let table = data.join("heddle/log-1");
        let snapshot = table.join("snapshots").join(NAME);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(data.join("heddle/empty-1")).unwrap();
        fs::write(snapshot.join("of then"), "a").unwrap();
        fs::write(table.join("of later"), "b").unwrap();
        assert_eq!(copy_tables(&data, &to).unwrap(), 1);
        assert!(to.join("heddle/log-1/of then").is_file());
        assert!(!to.join("heddle/log-1/of later").exists());
    }
}
