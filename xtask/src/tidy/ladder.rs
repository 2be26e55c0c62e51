//! Who may depend on whom: one direction of dependency between our crates, drivers in backends.
//!
//! Called by `tidy::survey` with every file: manifests are held against [`LADDER`], sources
//! against [`DRIVERS`]. Invariant: a service never depends on another service, even in tests.

use toml::{Table, Value};

use crate::repo::SourceFile;
use crate::tidy::source::{Finding, code_of, has_word};

const PROTO: &str = "heddle-proto";
const KIT: &str = "heddle-kit";
const SERVICE: &[&str] = &[PROTO, KIT];

/// Each crate of ours and those of ours that it may depend on.
const LADDER: &[(&str, &[&str])] = &[
    (PROTO, &[]),
    (KIT, &[]),
    ("heddle-gateway", SERVICE),
    ("heddle-chat", SERVICE),
    ("heddle-presence", SERVICE),
    ("heddle-history", SERVICE),
    ("heddle-notify", SERVICE),
    // The same service over another driver, outside the workspace.
    ("heddle-history-cassandra-cpp", &[KIT, "heddle-history"]),
    ("heddle-sdk", &[PROTO]),
    ("heddle-plan", &[]),
    ("heddle-lab", &[PROTO, "heddle-sdk", "heddle-plan"]),
    (
        "heddle",
        &[
            PROTO,
            KIT,
            "heddle-gateway",
            "heddle-chat",
            "heddle-presence",
            "heddle-history",
            "heddle-notify",
            "heddle-sdk",
            "heddle-lab",
        ],
    ),
    // Scenarios plant faults in the services that they run, and check their data.
    (
        "heddle-e2e",
        &[
            PROTO,
            KIT,
            "heddle-gateway",
            "heddle-chat",
            "heddle-history",
            "heddle-sdk",
            "heddle-lab",
            "heddle-plan",
            "heddle",
        ],
    ),
    ("heddle-model", &[]),
    ("xtask", &["heddle-plan"]),
];

/// A driver crate and the directories of the crates that own its kind of data.
const DRIVERS: &[(&str, &[&str])] = &[
    ("fjall", &["history-svc"]),
    ("scylla", &["history-svc"]),
    ("cassandra-cpp", &["history-svc"]),
    ("redis", &["presence-svc", "gateway"]),
];

/// A file or directory with one of these in its name is a backend.
const BACKENDS: &[&str] = &["embedded", "cassandra", "scylla", "redis", "fjall"];

const DEPENDENCY_TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Holds a manifest or a source file against the ladder.
pub fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    if file.path.ends_with("/Cargo.toml") {
        manifest(file, findings);
    } else if file.is_rust() {
        drivers(file, findings);
    }
}

fn manifest(file: &SourceFile, findings: &mut Vec<Finding>) {
    let Ok(manifest) = file.text.parse::<Table>() else {
        findings.push(file.finding(1, "not TOML; cargo will say where"));
        return;
    };
    let Some(name) = manifest
        .get("package")
        .and_then(|package| package.get("name")?.as_str())
    else {
        return;
    };
    let Some((_, allowed)) = LADDER.iter().find(|(known, _)| *known == name) else {
        let advice = format!("{name} has no place; add it to the ladder of the tidy check");
        findings.push(file.finding(1, advice));
        return;
    };
    for dependency in dependencies(&manifest) {
        let line = file
            .lines()
            .find(|(_, line)| line.starts_with(dependency))
            .map_or(1, |found| found.0);
        let is_ours = LADDER.iter().any(|(known, _)| *known == dependency);
        if is_ours && !allowed.contains(&dependency) {
            let advice = format!(
                "{name} may not depend on {dependency}, only on [{}]; pass what it needs \
                 through proto or kit",
                allowed.join(", ")
            );
            findings.push(file.finding(line, advice));
        }
        if let Some((driver, owners)) = DRIVERS.iter().find(|(driver, _)| *driver == dependency)
            && !owners.contains(&file.top())
        {
            let advice = format!(
                "{driver} belongs to {}; ask it instead",
                owners.join(" and ")
            );
            findings.push(file.finding(line, advice));
        }
    }
}

/// Names in every dependency table of a manifest, those of targets included.
fn dependencies(manifest: &Table) -> Vec<&str> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(|table| table.values())
        .filter_map(Value::as_table);
    std::iter::once(manifest)
        .chain(targets)
        .flat_map(|table| {
            DEPENDENCY_TABLES
                .iter()
                .filter_map(move |name| table.get(*name)?.as_table())
        })
        .flat_map(|table| table.keys().map(String::as_str))
        .collect()
}

fn drivers(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (driver, owners) in DRIVERS {
        if owners.contains(&file.top()) && is_backend(&file.path) {
            continue;
        }
        for (number, line) in file.lines() {
            let code = code_of(line);
            let is_path =
                code.contains(&format!("{driver}::")) || code.trim_start().starts_with("use ");
            if is_path && has_word(code, driver) && !code.contains(&format!("::{driver}")) {
                let advice = format!(
                    "{driver} outside a backend of {}; put it behind the owner's trait",
                    owners.join(" and ")
                );
                findings.push(file.finding(number, advice));
            }
        }
    }
}

fn is_backend(path: &str) -> bool {
    path.split('/')
        .skip(1)
        .any(|part| BACKENDS.iter().any(|backend| part.contains(backend)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut findings = Vec::new();
        check(&file, &mut findings);
        findings
            .into_iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn a_service_does_not_know_another_even_in_tests() {
        let text = "[package]\nname = \"heddle-chat\"\n\
                    [dev-dependencies]\nheddle-history.workspace = true\n";
        let found = advice("chat-svc/Cargo.toml", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("chat-svc/Cargo.toml:4: heddle-chat may not"),
            "{found:?}"
        );
        let text = text.replace("heddle-history", KIT);
        assert!(advice("chat-svc/Cargo.toml", &text).is_empty());
    }

    #[test]
    fn a_new_crate_asks_for_its_place() {
        let found = advice("attic/Cargo.toml", "[package]\nname = \"heddle-attic\"\n");
        assert!(found[0].contains("has no place"), "{found:?}");
    }

    #[test]
    fn dependencies_of_a_target_count() {
        let text = "[package]\nname = \"heddle-sdk\"\n\
                    [target.'cfg(unix)'.dependencies]\nheddle-lab = { path = \"../lab\" }\n";
        assert_eq!(advice("sdk/Cargo.toml", text).len(), 1);
    }

    #[test]
    fn a_driver_stays_in_backend_files_of_its_owner() {
        let using = "//! A.\nuse fjall::Keyspace;\n";
        assert!(advice("history-svc/src/store/embedded.rs", using).is_empty());
        assert!(advice("history-svc/src/embedded/write.rs", using).is_empty());
        assert_eq!(advice("history-svc/src/service.rs", using).len(), 1);
        assert_eq!(advice("chat-svc/src/embedded.rs", using).len(), 1);
        assert!(advice("history-svc/src/service.rs", "use crate::fjall::Store;").is_empty());
        let manifest = "[package]\nname = \"heddle-chat\"\n[dependencies]\nfjall = \"3\"\n";
        assert_eq!(advice("chat-svc/Cargo.toml", manifest).len(), 1);
    }
}
