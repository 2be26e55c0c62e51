//! The manifests in `k8s/`, checked with no cluster: rendered by kustomize, held against schemas by
//! kubeconform, and against what our programs and pages say by `rules`.
//!
//! The `k8s` step of `suite`. Invariant: each program is asked for its settings and is given those
//! of each pod to check, so that a setting that is renamed cannot be forgotten here.

mod container_file;
mod declared;
mod manifests;
mod rules;
mod schemas;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::build;
use crate::check::{Failure, Outcome};
use crate::command;
use crate::repo::Repo;
use crate::tools;
use declared::Declared;
use manifests::{Manifests, Workload};
use rules::watch::Metrics;

/// One directory each, below [`OVERLAYS_DIR`].
const OVERLAYS: &[&str] = &["dev", "prod"];
const OVERLAYS_DIR: &str = "k8s/overlays";
const RENDERED_DIR: &str = "target/k8s";
/// What operators read.
const OPERATIONS: &str = "docs/operations.md";
/// A file of settings that only a cluster has.
const NOT_HERE: &str = "HEDDLE_CONFIG";

/// Checks all overlays, and the container file.
pub fn check(repo: &Repo) -> Outcome {
    let rendered = render(repo)?;
    let schemas = tools::directory(repo).join("k8s-schemas");
    schemas::write(&schemas)?;
    conform(repo, &schemas)?;
    let mut found = Vec::new();
    let mut count = 0;
    for (overlay, text) in &rendered {
        let manifests = Manifests::parse(text).map_err(Failure::wrong)?;
        count += manifests.len();
        let mut of_this = Vec::new();
        hold(repo, &manifests, &mut of_this)?;
        found.extend(of_this.into_iter().map(|it| format!("{overlay}: {it}")));
    }
    for finding in &found {
        println!("{finding}");
    }
    match found.first() {
        None => Ok(format!("{count} manifests")),
        Some(first) => Err(Failure::wrong(format!("{} to mend: {first}", found.len()))),
    }
}

/// Has kustomize make each overlay, into a file too.
fn render(repo: &Repo) -> Result<Vec<(&'static str, String)>, Failure> {
    let kustomize = tools::kustomize(repo)?;
    fs::create_dir_all(repo.path(RENDERED_DIR))?;
    let mut rendered = Vec::new();
    for overlay in OVERLAYS {
        let file = rendered_file(repo, overlay);
        let mut build = Command::new(&kustomize);
        build.arg("build").arg(format!("{OVERLAYS_DIR}/{overlay}"));
        build.arg("--output").arg(&file);
        command::run(build.current_dir(repo.root()))?;
        rendered.push((*overlay, fs::read_to_string(file)?));
    }
    Ok(rendered)
}

fn rendered_file(repo: &Repo, overlay: &str) -> PathBuf {
    repo.path(RENDERED_DIR).join(format!("{overlay}.yaml"))
}

fn conform(repo: &Repo, schemas: &std::path::Path) -> Result<(), Failure> {
    let mut kubeconform = Command::new(tools::kubeconform(repo)?);
    kubeconform.args(["-strict", "-summary", "-schema-location"]);
    kubeconform.arg(schemas.join(schemas::FILES));
    kubeconform.args(OVERLAYS.iter().map(|overlay| rendered_file(repo, overlay)));
    command::run(&mut kubeconform)
}

/// Runs all rules over one overlay.
fn hold(repo: &Repo, manifests: &Manifests, found: &mut Vec<String>) -> Result<(), Failure> {
    let services = services(repo)?;
    let is_service = |name: &str| services.iter().any(|known| known == name);
    rules::pods::check(manifests, &is_service, found);
    rules::network::check(manifests, rules::network::EDGES, found);
    let metrics = Metrics::of_page(&repo.read("docs/telemetry.md")?);
    rules::watch::check(manifests, &metrics, &repo.read(OPERATIONS)?, found);
    let mut known = BTreeMap::new();
    for workload in manifests.workloads_and_jobs() {
        let program = workload.program();
        if !known.contains_key(program) {
            known.insert(program, sample(repo, program)?);
        }
        let declared = &known[program];
        rules::settings::check(manifests, workload, declared, found);
        if workload.whole["kind"] != "Job" {
            rules::pods::drain(manifests, workload, declared, found);
        }
        accepted(repo, manifests, workload, found)?;
    }
    let programs: Vec<_> = known.into_keys().chain(["heddle"]).collect();
    found.extend(container_file::check(
        &repo.read("k8s/Containerfile")?,
        &repo.read("Cargo.toml")?,
        &repo.read("rust-toolchain.toml")?,
        &programs,
    ));
    Ok(())
}

/// The gRPC services of the protocol, by their full names.
fn services(repo: &Repo) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for file in repo
        .files()?
        .iter()
        .filter(|it| it.path.ends_with(".proto"))
    {
        let mut package = "";
        for line in file.text.lines() {
            if let Some(name) = line.strip_prefix("package ") {
                package = name.trim_end_matches(';');
            } else if let Some(name) = line.strip_prefix("service ") {
                names.push(format!("{package}.{}", name.trim_end_matches(" {")));
            }
        }
    }
    Ok(names)
}

/// What a program says of its settings.
fn sample(repo: &Repo, program: &str) -> Result<Declared, Failure> {
    let mut asked = Command::new(build::program(repo, false, program));
    let output = asked.arg("--sample-config").output();
    let output = output.map_err(|error| {
        Failure::wrong(format!(
            "{program} did not start ({error}); run the step build first"
        ))
    })?;
    Ok(Declared::parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Gives a pod's variables to its program, which checks names within sections, and values.
fn accepted(
    repo: &Repo,
    manifests: &Manifests,
    workload: Workload<'_>,
    found: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut asked = Command::new(build::program(repo, false, workload.program()));
    asked.arg("--check-config").env_clear();
    let variables = manifests.variables(workload).into_iter();
    asked.envs(variables.filter(|(name, _)| name != NOT_HERE));
    let output = asked.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        found.push(format!("{}: {}", workload.name, said.trim()));
    }
    Ok(())
}
