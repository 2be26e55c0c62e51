//! The checkout: where it is, which text files are in it.
//!
//! Everything else in xtask names files relative to the root found here. Invariant: what is built,
//! fetched or written at run time (`target`, version control, a server's data) is never listed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::check::Failure;

/// What nobody wrote by hand; `.git` is a file in a worktree.
const NOT_OURS: &[&str] = &["target", ".git", ".heddle", "node_modules"];

/// The checkout that the current directory lies in.
#[derive(Clone, Debug)]
pub struct Repo {
    root: PathBuf,
}

/// A text file of the checkout.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Relative to the root, with `/` between the parts.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Repo {
    /// Walks up from the current directory to the workspace's `Cargo.lock`, beside xtask itself.
    pub fn find() -> Result<Self, Failure> {
        let here = std::env::current_dir()?;
        match here
            .ancestors()
            // A crate outside the workspace has a lock file of its own.
            .find(|dir| dir.join("Cargo.lock").is_file() && dir.join("xtask").is_dir())
        {
            Some(root) => Ok(Self {
                root: root.to_path_buf(),
            }),
            None => Err(Failure::wrong(format!(
                "no Cargo.lock in {} or above it; run cargo xtask inside the checkout",
                here.display()
            ))),
        }
    }

    /// A checkout at a known place.
    #[cfg(test)]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// The directory with the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The absolute path of a file of the checkout.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Reads one file; the error names it.
    pub fn read(&self, relative: &str) -> Result<String, Failure> {
        fs::read_to_string(self.path(relative))
            .map_err(|error| Failure::wrong(format!("{relative}: {error}")))
    }

    /// Every text file, ordered by path. What is not UTF-8 is not text.
    pub fn files(&self) -> Result<Vec<SourceFile>, Failure> {
        let mut found = Vec::new();
        self.collect(&self.root, &mut found)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn collect(&self, dir: &Path, found: &mut Vec<SourceFile>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name());
            if NOT_OURS.iter().any(|skipped| name == *skipped) {
                continue;
            }
            if kind.is_dir() {
                self.collect(&entry.path(), found)?;
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
            {
                found.push(SourceFile {
                    path: self.relative(&entry.path()),
                    text,
                });
            }
        }
        Ok(())
    }

    fn relative(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        relative.to_string_lossy().replace('\\', "/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_or_is_binary_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in [
            ("src/lib.rs", b"//! text".as_slice()),
            ("target/debug/out.rs", b"fn built() {}"),
            ("proto/image.binpb", &[0xff, 0xfe, 0x00]),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let paths: Vec<_> = Repo::at(dir.path())
            .files()
            .unwrap()
            .into_iter()
            .map(|file| file.path)
            .collect();
        assert_eq!(paths, ["src/lib.rs"]);
    }
}
