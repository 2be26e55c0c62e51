//! Settings: what a pod's variables set exists, and agrees with its ports and files.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::k8s::declared::Declared;
use crate::k8s::manifests::{Manifests, Workload, list, text};

const PREFIX: &str = "HEDDLE_";
/// Names a file of settings; no setting itself.
const CONFIG: &str = "HEDDLE_CONFIG";
/// Where files of ours are mounted.
const FILES: &str = "/etc/heddle/";

/// All rules of this module, for one pod, whose program declares its settings.
pub fn check(
    manifests: &Manifests,
    workload: Workload<'_>,
    declared: &Declared,
    found: &mut Vec<String>,
) {
    names(manifests, workload, declared, found);
    files(manifests, workload, found);
    if workload.whole["kind"] != "Job" {
        ports(manifests, workload, declared, found);
    }
}

fn names(
    manifests: &Manifests,
    workload: Workload<'_>,
    declared: &Declared,
    found: &mut Vec<String>,
) {
    let known = manifests.variables(workload);
    let mut seen = BTreeSet::new();
    for variable in list(&workload.container()["env"]) {
        let name = text(&variable["name"]);
        if !seen.insert(name) {
            found.push(format!("{}: {name} is set twice", workload.name));
        }
        if name.starts_with(PREFIX) && name != CONFIG && !declared.has_variable(name) {
            let program = workload.program();
            found.push(format!(
                "{}: {name} sets nothing of {program}",
                workload.name
            ));
        }
        let is_ours = !variable["valueFrom"]["configMapKeyRef"].is_null();
        if is_ours && known.iter().all(|(it, _)| it != name) {
            found.push(format!("{}: {name} comes from nowhere", workload.name));
        }
    }
}

/// The container's ports are those that the program listens on, and the service port its default.
fn ports(
    manifests: &Manifests,
    workload: Workload<'_>,
    declared: &Declared,
    found: &mut Vec<String>,
) {
    for (variable, port) in [
        ("HEDDLE_LISTEN", "grpc"),
        ("HEDDLE_PROCESS__METRICS_ADDRESS", "metrics"),
    ] {
        let address = manifests.variable(workload, variable);
        let told = address.as_deref().and_then(port_of);
        if told.is_none() || told != workload.port(port) {
            found.push(format!(
                "{}: the port {port} is not that of {variable}",
                workload.name
            ));
        }
    }
    let default = declared
        .default_of("HEDDLE_LISTEN")
        .map(|it| it.trim_matches('"'));
    if default.and_then(port_of) != workload.port("grpc") {
        found.push(format!(
            "{}: the port grpc is not the program's own, {default:?}",
            workload.name
        ));
    }
}

fn port_of(address: &str) -> Option<u64> {
    address.rsplit(':').next()?.parse().ok()
}

/// Each file that a variable names lies in a volume that is there and mounted.
fn files(manifests: &Manifests, workload: Workload<'_>, found: &mut Vec<String>) {
    let mounts = list(&workload.container()["volumeMounts"]);
    let volumes = list(&workload.pod()["volumes"]);
    let claims = list(&workload.whole["spec"]["volumeClaimTemplates"]);
    for mount in mounts {
        let name = &mount["name"];
        let is_volume = volumes.iter().any(|it| &it["name"] == name);
        if !is_volume && claims.iter().all(|it| &it["metadata"]["name"] != name) {
            found.push(format!("{}: there is no volume {name}", workload.name));
        }
    }
    let is_within = |file: &str| {
        let below = |mount: &Value| {
            let directory = format!("{}/", text(&mount["mountPath"]));
            file.starts_with(&directory)
        };
        mounts.iter().any(below)
    };
    for (name, value) in manifests.variables(workload) {
        if value.starts_with(FILES) && !is_within(&value) {
            found.push(format!(
                "{}: {name}: nothing is mounted at {value}",
                workload.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::rules::fixture::{DECLARED, each_is_found, planted};

    fn found(from: &str, to: &str) -> Vec<String> {
        let manifests = planted(from, to);
        let mut found = Vec::new();
        for workload in manifests.workloads() {
            check(&manifests, workload, &Declared::parse(DECLARED), &mut found);
        }
        found
    }

    #[test]
    fn what_is_right_is_left_alone() {
        assert_eq!(found("", ""), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_found() {
        let mistakes = [
            (
                "HEDDLE_CHAT__NODE",
                "HEDDLE_CHAT__NAME",
                "sets nothing of chat-svc",
            ),
            (
                "HEDDLE_CHAT__NODE",
                "HEDDLE_CHAT_NODE",
                "sets nothing of chat-svc",
            ),
            ("name: POD_NAME", "name: HEDDLE_LISTEN", "is set twice"),
            ("key: peers", "key: piers", "comes from nowhere"),
            (
                "value: \"0.0.0.0:7448\"",
                "value: \"0.0.0.0:7449\"",
                "that of HEDDLE_LISTEN",
            ),
            (
                "containerPort: 7448",
                "containerPort: 7447",
                "not the program's own",
            ),
            (
                "containerPort: 9464",
                "containerPort: 9465",
                "METRICS_ADDRESS",
            ),
            (
                "value: $(POD_NAME)",
                "value: /etc/heddle/node/name",
                "nothing is mounted",
            ),
            (
                "{name: link-tls, mountPath",
                "{name: other, mountPath",
                "there is no volume",
            ),
        ];
        each_is_found(&mistakes, found);
    }
}
