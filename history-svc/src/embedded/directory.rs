//! The store's directory: who may use it, and what it claims to be.
//!
//! `lock` is held while the store is open and names the process; `stamp` tells format and identity;
//! `acked` (its own module) the last commit answered; `db` is the engine's.
//!
//! Invariant: nobody writes below the directory without the lock, and nothing that is not provably
//! an unfinished creation is ever removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::open_error::{OpenError, io_at};

/// The format written by this version. Older ones are read (there are none yet), newer refused.
pub const FORMAT: u32 = 1;
const TITLE: &str = "heddle event store";

/// A locked directory with a stamp that this version understands.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// 16 random bytes, the same for the store's whole life.
    pub store_id: [u8; 16],
    /// No store was here, or the making of one did not end.
    pub fresh: bool,
    _lock: File,
}

impl Directory {
    /// Locks the directory and reads its stamp, or begins to make one.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(root).map_err(io_at(root))?;
        let lock = take_lock(&root.join("lock"))?;
        let path = root.join("stamp");
        let (store_id, fresh) = match fs::read(&path) {
            Ok(bytes) => parse_stamp(&bytes, &path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if root.join("db").exists() || root.join("acked").exists() {
                    return Err(OpenError::StampMissing { path });
                }
                (rand::random(), true)
            }
            Err(error) => return Err(io_at(&path)(error)),
        };
        let directory = Self {
            root: root.to_owned(),
            store_id,
            fresh,
            _lock: lock,
        };
        if fresh {
            directory.begin_again()?;
        }
        Ok(directory)
    }

    /// The engine's directory.
    pub fn engine_path(&self) -> PathBuf {
        self.root.join("db")
    }

    /// The file of the last commit answered.
    pub fn acked_path(&self) -> PathBuf {
        self.root.join("acked")
    }

    /// The store is complete: from now on its parts must be there.
    pub fn finish(&self) -> Result<(), OpenError> {
        self.write_stamp("ready")
    }

    /// Removes what an interrupted creation left; it never answered a commit.
    fn begin_again(&self) -> Result<(), OpenError> {
        self.write_stamp("creating")?;
        let engine = self.engine_path();
        if engine.exists() {
            fs::remove_dir_all(&engine).map_err(io_at(&engine))?;
        }
        Ok(())
    }

    fn write_stamp(&self, state: &str) -> Result<(), OpenError> {
        let id: String = self
            .store_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let text = format!("{TITLE}\nformat {FORMAT}\nid {id}\nstate {state}\n");
        let checksum = crc32c::crc32c(text.as_bytes());
        let (path, draft) = (self.root.join("stamp"), self.root.join("stamp.draft"));
        let mut file = File::create(&draft).map_err(io_at(&draft))?;
        writeln!(file, "{text}checksum {checksum:08x}").map_err(io_at(&draft))?;
        file.sync_all().map_err(io_at(&draft))?;
        fs::rename(&draft, &path).map_err(io_at(&path))?;
        let root = File::open(&self.root).map_err(io_at(&self.root))?;
        root.sync_all().map_err(io_at(&self.root))
    }
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let mut file = open.map_err(io_at(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _unreadable_is_unknown = file.read_to_string(&mut pid);
            let pid = pid.trim().parse().ok();
            return Err(OpenError::InUse {
                path: path.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(error)) => return Err(io_at(path)(error)),
    }
    file.set_len(0).map_err(io_at(path))?;
    file.rewind().map_err(io_at(path))?;
    writeln!(file, "{}", std::process::id()).map_err(io_at(path))?;
    Ok(file)
}

fn parse_stamp(bytes: &[u8], path: &Path) -> Result<([u8; 16], bool), OpenError> {
    let damaged = || OpenError::StampDamaged {
        path: path.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let (content, checksum) = text.rsplit_once("checksum ").ok_or_else(damaged)?;
    let expected = format!("{:08x}\n", crc32c::crc32c(content.as_bytes()));
    let mut lines = content.lines();
    if checksum != expected || lines.next() != Some(TITLE) {
        return Err(damaged());
    }
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let format: u32 = field("format")
        .and_then(|text| text.parse().ok())
        .ok_or_else(damaged)?;
    if format > FORMAT {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    let id = field("id").and_then(parse_id).ok_or_else(damaged)?;
    let state = field("state").ok_or_else(damaged)?;
    Ok((id, state == "creating"))
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then(|| number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_user_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path()).unwrap();
        let error = Directory::open(dir.path()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            error.contains("another server uses this data directory"),
            "{error}"
        );
        assert!(error.contains(&pid.to_string()), "{error}");
        drop(first);
        Directory::open(dir.path()).unwrap();
    }

    #[test]
    fn identity_stays_and_an_unfinished_creation_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path()).unwrap();
        let id = first.store_id;
        drop(first);
        let again = Directory::open(dir.path()).unwrap();
        assert!(again.fresh);
        assert_eq!(again.store_id, id);
        again.finish().unwrap();
        drop(again);
        assert!(!Directory::open(dir.path()).unwrap().fresh);
    }

    #[test]
    fn a_newer_format_and_any_flipped_byte_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Directory::open(dir.path()).unwrap().finish().unwrap();
        let path = dir.path().join("stamp");
        let stamp = fs::read_to_string(&path).unwrap();
        for at in 0..stamp.len() {
            let mut bytes = stamp.clone().into_bytes();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(Directory::open(dir.path()).is_err(), "byte {at}");
        }
        let content = stamp.replace("format 1", "format 2");
        let content = content.rsplit_once("checksum ").unwrap().0;
        let checksum = crc32c::crc32c(content.as_bytes());
        fs::write(&path, format!("{content}checksum {checksum:08x}\n")).unwrap();
        let error = Directory::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("format 2"), "{error}");
    }

    #[test]
    fn data_without_a_stamp_is_not_taken_for_a_new_store() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("db")).unwrap();
        assert!(matches!(
            Directory::open(dir.path()),
            Err(OpenError::StampMissing { .. })
        ));
    }
}
