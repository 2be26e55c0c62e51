//! A disk whose power can be cut: ext4 in a file, mounted over a loop device.
//!
//! [`super::power`] keeps a server's data on it. The cut is the file system's own: it stops at once
//! and neither its journal nor what lies in the page cache is written any more.
//!
//! Invariant: nothing stays mounted when it is dropped, and the file goes with it.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::ioctl::{Opcode, Setter, ioctl};
use tempfile::TempDir;

use super::FaultError;

/// How large the disk is: far more than the free space that a server insists on. The file is
/// sparse.
const IMAGE_BYTES: u64 = 4 << 30;
/// What a full disk has left: half of what a server insists on.
const FULL_BYTES: u64 = 64 << 20;
/// `EXT4_IOC_SHUTDOWN`.
const SHUTDOWN: Opcode = 0x8004_587D;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: the journal is not flushed.
const NO_LOG_FLUSH: u32 = 2;
/// Files of a process that was killed may be held by the kernel a little longer.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often unmounting is tried until then.
const UNMOUNT_PAUSE: Duration = Duration::from_millis(20);
/// What it takes, when it is not there.
const NEEDS: &str = "it takes root, a loop device and mkfs.ext4 (e2fsprogs)";

/// A mounted ext4 image.
#[derive(Debug)]
pub struct Image {
    dir: TempDir,
    mounted: bool,
}

impl Image {
    /// Makes a file system and mounts it.
    pub fn create() -> Result<Image, FaultError> {
        if !rustix::process::geteuid().is_root() {
            return Err(FaultError::Impossible(format!(
                "no disk of one's own: not root; {NEEDS}"
            )));
        }
        let dir = TempDir::new().map_err(FaultError::disk("a temporary directory"))?;
        let mut image = Image {
            dir,
            mounted: false,
        };
        let file = File::create(image.file()).map_err(FaultError::disk("the image"))?;
        file.set_len(IMAGE_BYTES)
            .map_err(FaultError::disk("the image"))?;
        std::fs::create_dir(image.path()).map_err(FaultError::disk("the mount point"))?;
        let mut mkfs = Command::new("mkfs.ext4");
        run(mkfs.args(["-q", "-F"]).arg(image.file())).map_err(impossible)?;
        image.mount().map_err(impossible)?;
        Ok(image)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Cuts the power: from now on every write fails, and what was not synced is gone.
    pub fn cut(&self) -> Result<(), FaultError> {
        let root = File::open(self.path()).map_err(FaultError::disk("the mount point"))?;
        shut_down(&root).map_err(FaultError::disk("shutting the file system down"))
    }

    /// Leaves less room than a server insists on.
    pub fn fill(&self) -> Result<(), FaultError> {
        let wrong = || FaultError::disk("filling the disk");
        let stat = rustix::fs::statvfs(self.path()).map_err(|error| wrong()(error.into()))?;
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(FULL_BYTES);
        let file = File::create(self.filler()).map_err(wrong())?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .map_err(|error| wrong()(error.into()))
    }

    /// Takes back what [`Self::fill`] took.
    pub fn empty(&self) -> Result<(), FaultError> {
        std::fs::remove_file(self.filler()).map_err(FaultError::disk("making room on the disk"))
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Unmounts and mounts again, as after a restart of the machine: the journal is replayed.
    /// Nobody may hold a file of it any more.
    pub fn power_on(&mut self) -> Result<(), FaultError> {
        self.unmount().map_err(FaultError::disk("unmounting"))?;
        self.mount().map_err(FaultError::disk("mounting again"))
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("disk.ext4")
    }

    fn mount(&mut self) -> Result<(), Error> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", "loop"]);
        run(mount.arg(self.file()).arg(self.path()))?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + UNMOUNT_TIMEOUT;
        while let Err(error) = unmount(&self.path()) {
            if Instant::now() >= deadline {
                return Err(error);
            }
            sleep(UNMOUNT_PAUSE);
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            let path = self.path();
            eprintln!("{} stays mounted: {error}", path.display());
        }
    }
}

#[allow(unsafe_code, reason = "no library has this ioctl as a safe function")]
fn shut_down(root: &File) -> Result<(), Error> {
    // SAFETY: the request reads one u32, which `Setter` keeps alive over the call.
    let done = unsafe { ioctl(root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
    done.map_err(Error::from)
}

fn unmount(path: &Path) -> Result<(), Error> {
    run(Command::new("umount").arg(path))
}

fn impossible(error: Error) -> FaultError {
    FaultError::Impossible(format!("no disk of one's own: {error}; {NEEDS}"))
}

/// Runs a program; the error is what it said.
fn run(command: &mut Command) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::new(error.kind(), format!("{program} is not installed")),
        _ => error,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::other(format!("{program}: {}", said.trim())))
}
