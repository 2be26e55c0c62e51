//! Pods: probes, resources, security, disruption and drain of what runs.

use serde_json::Value;

use crate::k8s::declared::Declared;
use crate::k8s::manifests::{Manifests, Workload, list, text};

/// After its drain a process has so long for its last traces and metrics (`kit/src/telemetry`).
const FLUSH_MS: u64 = 2_000;
/// What a probe is made with where the port wants certificates.
const PROBE: &str = "grpc_health_probe";

/// All rules of this module; `is_service` says whether the protocol has a gRPC service.
pub fn check(manifests: &Manifests, is_service: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
    for workload in manifests.workloads() {
        probes(workload, is_service, found);
        disruption(manifests, workload, found);
    }
    for workload in manifests.workloads_and_jobs() {
        resources(workload, found);
        security(workload, found);
    }
}

/// Readiness by gRPC on the port that is served, liveness by anything.
fn probes(workload: Workload<'_>, is_service: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
    let name = workload.name;
    let container = workload.container();
    if container["livenessProbe"].is_null() {
        found.push(format!("{name}: no livenessProbe"));
    }
    let Some(port) = workload.port("grpc") else {
        return found.push(format!("{name}: no port called grpc"));
    };
    let readiness = &container["readinessProbe"];
    let command: Vec<_> = list(&readiness["exec"]["command"])
        .iter()
        .map(text)
        .collect();
    let (asked_port, service) = match command.first() {
        Some(program) if program.ends_with(PROBE) => {
            let flag = |flag: &str| command.iter().find_map(|it| it.strip_prefix(flag));
            let address = flag("-addr=").and_then(|it| it.rsplit(':').next());
            (address.and_then(|it| it.parse().ok()), flag("-service="))
        }
        _ => (
            readiness["grpc"]["port"].as_u64(),
            readiness["grpc"]["service"].as_str(),
        ),
    };
    if asked_port != Some(port) {
        found.push(format!(
            "{name}: readiness does not ask port {port} by gRPC"
        ));
    }
    match service {
        Some(service) if is_service(service) => {}
        service => found.push(format!(
            "{name}: readiness asks for {service:?}, which the protocol does not have"
        )),
    }
}

fn resources(workload: Workload<'_>, found: &mut Vec<String>) {
    for container in list(&workload.pod()["containers"]) {
        for kind in ["requests", "limits"] {
            for what in ["cpu", "memory"] {
                if text(&container["resources"][kind][what]).is_empty() {
                    found.push(format!("{}: no {kind} of {what}", workload.name));
                }
            }
        }
    }
}

/// What Pod Security calls restricted, a root file system that nobody writes to, and no token.
fn security(workload: Workload<'_>, found: &mut Vec<String>) {
    let (name, pod) = (workload.name, workload.pod());
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{name}: {what}"));
        }
    };
    let of_pod = &pod["securityContext"];
    demand(of_pod["runAsNonRoot"] == true, "runAsNonRoot is not true");
    let seccomp = &of_pod["seccompProfile"]["type"];
    demand(
        seccomp == "RuntimeDefault",
        "seccompProfile is not RuntimeDefault",
    );
    let token = &pod["automountServiceAccountToken"];
    demand(token == false, "automountServiceAccountToken is not false");
    let links = &pod["enableServiceLinks"];
    demand(links == false, "enableServiceLinks is not false");
    for container in list(&pod["containers"]) {
        let own = &container["securityContext"];
        let escalation = &own["allowPrivilegeEscalation"];
        demand(escalation == false, "allowPrivilegeEscalation is not false");
        let root = &own["readOnlyRootFilesystem"];
        demand(root == true, "readOnlyRootFilesystem is not true");
        let dropped = list(&own["capabilities"]["drop"]);
        demand(
            dropped.iter().any(|it| it == "ALL"),
            "capabilities are not dropped",
        );
        let is_secret = |it: &Value| !it["valueFrom"]["secretKeyRef"].is_null();
        let secrets = list(&container["env"]).iter().any(is_secret);
        demand(!secrets, "a secret in the environment; mount it as a file");
    }
}

fn disruption(manifests: &Manifests, workload: Workload<'_>, found: &mut Vec<String>) {
    let is_for = |it: &&Value| workload.is_selected(&it["spec"]["selector"]);
    let budgets = manifests.of_kind("PodDisruptionBudget").filter(is_for);
    if budgets.count() != 1 {
        found.push(format!(
            "{}: not one PodDisruptionBudget selects it",
            workload.name
        ));
    }
}

/// Kubernetes waits longer than the process takes to drain.
pub fn drain(
    manifests: &Manifests,
    workload: Workload<'_>,
    declared: &Declared,
    found: &mut Vec<String>,
) {
    let name = workload.name;
    let setting = |variable: &str| -> Option<u64> {
        let set = manifests.variable(workload, variable);
        let default = || declared.default_of(variable).map(str::to_owned);
        set.or_else(default)?.parse().ok()
    };
    let Some(grace_ms) = setting("HEDDLE_PROCESS__GRACE_MS") else {
        return found.push(format!("{name}: nobody knows process.grace_ms"));
    };
    let before = &workload.container()["lifecycle"]["preStop"]["sleep"]["seconds"];
    let needed_ms = before.as_u64().unwrap_or(0) * 1_000 + grace_ms + FLUSH_MS;
    let given = workload.pod()["terminationGracePeriodSeconds"].as_u64();
    if given.unwrap_or(30) * 1_000 <= needed_ms {
        found.push(format!(
            "{name}: terminationGracePeriodSeconds {given:?} is not longer than the {needed_ms} ms \
             that a drain takes"
        ));
    }
    for part in ["HEDDLE_GATEWAY__DRAIN_MAX_MS", "HEDDLE_CHAT__LEAVE_MAX_MS"] {
        // A service's tasks may use half of the process's grace (kit's `Tasks::drain`).
        if setting(part).is_some_and(|part_ms| 2 * part_ms >= grace_ms) {
            found.push(format!(
                "{name}: {part} is not less than half of process.grace_ms, {grace_ms}"
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
        check(
            &manifests,
            &|it| it == "heddle.internal.v1.ShardService",
            &mut found,
        );
        for workload in manifests.workloads() {
            drain(&manifests, workload, &Declared::parse(DECLARED), &mut found);
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
            ("livenessProbe", "noProbe", "no livenessProbe"),
            (
                "-addr=127.0.0.1:7448",
                "-addr=127.0.0.1:7447",
                "does not ask port 7448",
            ),
            ("grpc_health_probe", "true", "does not ask port 7448"),
            (
                "v1.ShardService",
                "v1.SharedService",
                "which the protocol does not have",
            ),
            ("cpu: \"4\"", "gpu: \"4\"", "no limits of cpu"),
            ("memory: 1Gi", "storage: 1Gi", "no requests of memory"),
            ("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"),
            ("type: RuntimeDefault", "type: Unconfined", "seccompProfile"),
            (
                "readOnlyRootFilesystem: true",
                "privileged: true",
                "readOnlyRootFilesystem",
            ),
            ("drop: [ALL]", "add: [ALL]", "capabilities"),
            (
                "enableServiceLinks: false",
                "enableServiceLinks: true",
                "enableServiceLinks",
            ),
            (
                "fieldRef: {fieldPath: metadata.name}",
                "secretKeyRef: {name: a, key: b}",
                "secret",
            ),
            (
                "kind: PodDisruptionBudget",
                "kind: Budget",
                "PodDisruptionBudget",
            ),
            (
                "GracePeriodSeconds: 30",
                "GracePeriodSeconds: 7",
                "is not longer than the 7000 ms",
            ),
            (
                "containerPort: 7448",
                "containerPort: 7449",
                "does not ask port 7449",
            ),
        ];
        each_is_found(&mistakes, found);
    }
}
