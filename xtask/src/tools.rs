//! The programs that checks need beside Rust: which versions, where, and how they get there.
//!
//! Whoever needs one asks here. Everything but Go's modules and packages of the machine's (Redis,
//! Java, Maven) lands in `target/tools`, so that CI can cache one directory. Invariant: versions
//! are pinned but for those packages'; a machine that lacks the installer (npm, go, apt-get) is
//! told so by [`Failure::Missing`].

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::check::Failure;
use crate::command;
use crate::repo::Repo;

const BUF: &str = "@bufbuild/buf@1.75.0";
const WEB_PUSH_TESTING: &str = "web-push-testing@1.2.2";
const GRPCURL: &str = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3";
const KUSTOMIZE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2";
const KUBECONFORM: &str = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0";
/// What is no Rust, Go or Node.js comes from the machine's packages.
const REDIS_PACKAGE: &str = "redis-tools";
const REDIS_PROGRAM: &str = "/usr/bin/redis-check-rdb";
const JAVA_PACKAGE: &str = "openjdk-17-jdk-headless";
const MAVEN_PACKAGE: &str = "maven";
/// What Cassandra 5 runs on: later ones refuse it the security manager that it sets at its start.
const JAVA_VERSION: u32 = 17;
const CARGO_DENY_VERSION: &str = "0.20.2";

/// True where nobody watches and a missing tool has to fail the run.
pub fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// `buf` as [`buf()`] installs it, if it has.
#[cfg(test)]
pub fn buf_if_installed(repo: &Repo) -> Option<PathBuf> {
    Some(buf_program(repo)).filter(|program| program.is_file())
}

fn buf_program(repo: &Repo) -> PathBuf {
    directory(repo).join("node_modules/.bin/buf")
}

/// `buf`: lint and breaking checks of the protocol.
pub fn buf(repo: &Repo) -> Result<PathBuf, Failure> {
    let program = buf_program(repo);
    if !program.is_file() {
        npm_install(&directory(repo), BUF)?;
    }
    Ok(program)
}

/// `web-push-testing`: the push service that notify-svc's tests send to.
pub fn web_push_testing(repo: &Repo) -> Result<(), Failure> {
    // Apart from buf: npm removes what an install does not name.
    let packages = directory(repo).join("web-push");
    if !packages.join("node_modules/web-push-testing").is_dir() {
        npm_install(&packages, WEB_PUSH_TESTING)?;
    }
    Ok(())
}

fn npm_install(into: &Path, package: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(into)?;
    let mut npm = Command::new("npm");
    npm.arg("install").arg("--prefix").arg(into);
    npm.args(["--no-audit", "--no-fund", "--no-save", "--no-package-lock"]);
    // Without a network this is said within a minute, not after npm's ten.
    npm.args([
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-retry-maxtimeout=5000",
        package,
    ]);
    let installed = command::run(&mut npm);
    installed.map_err(|why| cannot(package, &why, "install Node.js with npm"))?;
    Ok(())
}

/// `grpcurl`: the command lines of the documentation are run with it.
pub fn grpcurl(repo: &Repo) -> Result<PathBuf, Failure> {
    go_program(repo, "grpcurl", GRPCURL)
}

/// `kustomize`: makes manifests of an overlay.
pub fn kustomize(repo: &Repo) -> Result<PathBuf, Failure> {
    go_program(repo, "kustomize", KUSTOMIZE)
}

/// `kubeconform`: holds manifests against schemas.
pub fn kubeconform(repo: &Repo) -> Result<PathBuf, Failure> {
    go_program(repo, "kubeconform", KUBECONFORM)
}

fn go_program(repo: &Repo, name: &str, package: &str) -> Result<PathBuf, Failure> {
    let program = directory(repo).join("bin").join(name);
    if !program.is_file() {
        let mut go = Command::new("go");
        go.args(["install", package]);
        go.env("GOBIN", directory(repo).join("bin"))
            .env("GOTOOLCHAIN", "local");
        command::run(&mut go).map_err(|why| cannot(name, &why, "install Go"))?;
    }
    Ok(program)
}

/// The source of a Go module, `PATH@VERSION`; it lands in Go's own cache.
pub struct Module(pub &'static str);

impl Module {
    /// Where its files are.
    pub fn fetch(&self) -> Result<PathBuf, Failure> {
        let mut go = Command::new("go");
        go.args(["mod", "download", "-json", self.0]);
        let missing = |why: &str| {
            let text = format!("the Go module {} cannot be had ({why}); install Go", self.0);
            Failure::missing(text)
        };
        let output = go.output().map_err(|error| missing(&error.to_string()))?;
        let said: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|error| missing(&error.to_string()))?;
        match said["Dir"].as_str() {
            Some(directory) => Ok(PathBuf::from(directory)),
            None => Err(missing(said["Error"].as_str().unwrap_or("go says no more"))),
        }
    }
}

/// `cargo-deny`: the machine's own, or built here; that takes minutes, so unasked only in CI.
pub fn cargo_deny(repo: &Repo) -> Result<PathBuf, Failure> {
    let program = directory(repo).join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    if command::is_installed("cargo-deny", "--version") {
        return Ok(PathBuf::from("cargo-deny"));
    }
    if !in_ci() {
        return Err(Failure::missing(
            "cargo-deny is not installed; `cargo install --locked cargo-deny`, or set CI=true to \
             have it built here",
        ));
    }
    // A debug build checks as well and is built in half the time.
    let mut cargo = self::cargo();
    cargo.args([
        "install",
        "--locked",
        "--debug",
        "--version",
        CARGO_DENY_VERSION,
    ]);
    cargo.arg("--root").arg(directory(repo)).arg("cargo-deny");
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "false");
    command::run(&mut cargo)?;
    Ok(program)
}

/// `redis-server`: the machine's own. In CI, and for root, it is fetched where apt-get may: the
/// package that holds the program without starting it as a service, so that nothing listens but
/// what is started here. Answers what to start.
pub fn redis_server(repo: &Repo) -> Result<PathBuf, Failure> {
    let ours = directory(repo).join("bin/redis-server");
    let is_installed =
        |program: &Path| command::is_installed(&program.to_string_lossy(), "--version");
    for program in [Path::new("redis-server"), &ours] {
        if is_installed(program) {
            return Ok(program.to_owned());
        }
    }
    let advice = "install Redis 7 (Debian: apt-get install redis-server)";
    apt_install(REDIS_PACKAGE, "redis-server is not installed", advice)?;
    // One program under two names; it looks at the one that it is called by.
    std::fs::create_dir_all(directory(repo).join("bin"))?;
    if !ours.is_symlink() {
        symlink(REDIS_PROGRAM, &ours)?;
    }
    if is_installed(&ours) {
        return Ok(ours);
    }
    let text = format!("{REDIS_PACKAGE} has no {REDIS_PROGRAM} that can serve; {advice}");
    Err(Failure::missing(text))
}

/// `java`: the machine's own, in the version that Cassandra runs on, fetched as Redis is.
pub fn java() -> Result<(), Failure> {
    let advice = format!(
        "Cassandra needs a JDK {JAVA_VERSION}, the first `java` in PATH (Debian: apt-get install \
         {JAVA_PACKAGE})"
    );
    let lack = |found: Option<u32>| match found {
        Some(version) => format!("java is of version {version}"),
        None => "java is not installed".to_owned(),
    };
    let mut found = installed_java();
    // A newer one would stay first in PATH.
    if found.is_none_or(|version| version < JAVA_VERSION) {
        apt_install(JAVA_PACKAGE, &lack(found), &advice)?;
        found = installed_java();
    }
    match found {
        Some(JAVA_VERSION) => Ok(()),
        _ => Err(Failure::missing(format!("{}; {advice}", lack(found)))),
    }
}

fn installed_java() -> Option<u32> {
    let output = Command::new("java").arg("-version").output().ok()?;
    // That is where it answers.
    java_version(&String::from_utf8_lossy(&output.stderr))
}

/// The 17 of `openjdk version "17.0.15"`, the 8 of `java version "1.8.0_452"`.
fn java_version(told: &str) -> Option<u32> {
    let (_, version) = told.split_once(" version \"")?;
    let mut numbers = version.split(|it: char| !it.is_ascii_digit());
    match numbers.next()?.parse::<u32>().ok()? {
        1 => numbers.next()?.parse().ok(),
        version => Some(version),
    }
}

/// `mvn`: the machine's own, fetched as Redis is.
pub fn maven() -> Result<(), Failure> {
    if command::is_installed("mvn", "--version") {
        return Ok(());
    }
    let advice = format!("Maven fetches Cassandra (Debian: apt-get install {MAVEN_PACKAGE})");
    apt_install(MAVEN_PACKAGE, "mvn is not installed", &advice)
}

/// Installs a package of the machine's, in CI and for root; for others, and where it cannot be, it
/// says what to do.
fn apt_install(package: &str, lack: &str, advice: &str) -> Result<(), Failure> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !in_ci() && !is_root {
        return Err(Failure::missing(format!("{lack}; {advice}")));
    }
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends", package],
    ] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command::run(&mut apt).map_err(|why| cannot(package, &why, advice))?;
    }
    Ok(())
}

/// The cargo that started us.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// The search path with our own tools in front, for tests that call them by name.
pub fn search_path(repo: &Repo) -> OsString {
    let ours = [
        directory(repo).join("bin"),
        directory(repo).join("node_modules/.bin"),
    ];
    let theirs = env::var_os("PATH").unwrap_or_default();
    let all = ours.into_iter().chain(env::split_paths(&theirs));
    env::join_paths(all).unwrap_or(theirs)
}

/// Where all of it lands.
pub fn directory(repo: &Repo) -> PathBuf {
    repo.path("target/tools")
}

fn cannot(tool: &str, why: &Failure, what_to_do: &str) -> Failure {
    Failure::missing(format!(
        "{tool} could not be installed ({why}); {what_to_do}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_tells_its_version_in_two_ways() {
        let debian = "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment";
        let picked_up = format!("Picked up JAVA_TOOL_OPTIONS: -Da=\"b\"\n{debian}");
        for (told, version) in [
            (debian, Some(17)),
            (picked_up.as_str(), Some(17)),
            ("java version \"1.8.0_452\"", Some(8)),
            ("openjdk version \"26-ea\" 2026-03-17", Some(26)),
            ("openjdk version \"\"", None),
            ("no such option", None),
        ] {
            assert_eq!(java_version(told), version, "{told}");
        }
    }
}
