//! Network: who may reach whom, by which name, and with which certificate.

use serde_json::Value;

use crate::k8s::manifests::{Manifests, Workload, list, text};

/// The calls that services make: caller, callee. `CALLERS` in each service's start-up code says the
/// same of methods.
pub const EDGES: &[(&str, &str)] = &[
    ("gateway", "chat-svc"),
    ("gateway", "history-svc"),
    ("gateway", "presence-svc"),
    ("chat-svc", "chat-svc"),
    ("chat-svc", "history-svc"),
    ("chat-svc", "notify-svc"),
];
/// The only one that anybody may call.
const EDGE: &str = "gateway";

/// All rules of this module.
pub fn check(manifests: &Manifests, edges: &[(&str, &str)], found: &mut Vec<String>) {
    policies(manifests, found);
    for caller in manifests.workloads() {
        for callee in manifests.workloads() {
            edge(manifests, edges, caller, callee, found);
        }
        names(manifests, caller, found);
        certificate(manifests, caller, found);
        links(manifests, caller, found);
    }
}

/// Nobody speaks to anybody unless a rule says so, and no rule says "anybody".
fn policies(manifests: &Manifests, found: &mut Vec<String>) {
    let denies = |it: &Value| {
        let selects_all = it["spec"]["podSelector"]
            .as_object()
            .is_some_and(|all| all.is_empty());
        let has_rules = !it["spec"]["ingress"].is_null() || !it["spec"]["egress"].is_null();
        selects_all && !has_rules && list(&it["spec"]["policyTypes"]).len() == 2
    };
    if !manifests.of_kind("NetworkPolicy").any(denies) {
        found.push("no NetworkPolicy denies what is not allowed".to_owned());
    }
    for policy in manifests.of_kind("NetworkPolicy") {
        let name = text(&policy["metadata"]["name"]);
        let open = |direction: &str, peers: &str| {
            let rules = list(&policy["spec"][direction]);
            rules.iter().any(|rule| list(&rule[peers]).is_empty())
        };
        if open("egress", "to") || name != EDGE && open("ingress", "from") {
            found.push(format!("NetworkPolicy {name} lets anybody through"));
        }
    }
    for workload in manifests.workloads() {
        let is_for = |it: &&Value| it["metadata"]["name"] == workload.name;
        let own = manifests.of_kind("NetworkPolicy").find(is_for);
        if !own.is_some_and(|it| workload.is_selected(&it["spec"]["podSelector"])) {
            found.push(format!("{}: no NetworkPolicy of its own", workload.name));
        }
    }
}

/// A call that is made is allowed at both ends, and no other.
fn edge(
    manifests: &Manifests,
    edges: &[(&str, &str)],
    caller: Workload<'_>,
    callee: Workload<'_>,
    found: &mut Vec<String>,
) {
    let wanted = edges.contains(&(caller.name, callee.name));
    let port = callee.port("grpc");
    let allows = |from: Workload<'_>, direction: &str, peers: &str, to: Workload<'_>| {
        let own = |it: &&Value| from.is_selected(&it["spec"]["podSelector"]);
        let rules = manifests.of_kind("NetworkPolicy").filter(own);
        let mut rules = rules.flat_map(|it| list(&it["spec"][direction]));
        rules.any(|rule| {
            let is_meant = |peer: &Value| {
                peer["namespaceSelector"].is_null() && to.is_selected(&peer["podSelector"])
            };
            let ports = list(&rule["ports"]);
            list(&rule[peers]).iter().any(is_meant)
                && (ports.is_empty() || ports.iter().any(|it| it["port"].as_u64() == port))
        })
    };
    let out = allows(caller, "egress", "to", callee);
    let within = allows(callee, "ingress", "from", caller);
    if (out, within) != (wanted, wanted) {
        found.push(format!(
            "{} -> {}: wanted {wanted}, out of the caller {out}, into the callee {within}",
            caller.name, callee.name
        ));
    }
}

/// Its pods can be found by name: each, ready or not, where callers name each.
fn names(manifests: &Manifests, workload: Workload<'_>, found: &mut Vec<String>) {
    let name = workload.name;
    let Some(service) = manifests.find("Service", name) else {
        return found.push(format!("{name}: there is no Service {name}"));
    };
    let spec = &service["spec"];
    let selector = serde_json::json!({ "matchLabels": spec["selector"] });
    let leads_to_grpc = list(&spec["ports"])
        .iter()
        .any(|it| it["targetPort"] == "grpc");
    if !workload.is_selected(&selector) || !leads_to_grpc {
        found.push(format!(
            "{name}: the Service does not lead to its port grpc"
        ));
    }
    if workload.whole["kind"] != "StatefulSet" {
        return;
    }
    if spec["clusterIP"] != "None" || spec["publishNotReadyAddresses"] != true {
        found.push(format!(
            "{name}: the Service does not name each pod, ready or not"
        ));
    }
    if workload.whole["spec"]["serviceName"] != name {
        found.push(format!("{name}: serviceName is not {name}"));
    }
}

/// Its certificate for links says which service it is, and has the names it is found by.
fn certificate(manifests: &Manifests, workload: Workload<'_>, found: &mut Vec<String>) {
    let name = workload.name;
    let volumes = list(&workload.pod()["volumes"]);
    let volume = volumes.iter().find(|it| it["name"] == "link-tls");
    let secret = volume.map(|it| &it["secret"]["secretName"]);
    let mut certificates = manifests.of_kind("Certificate");
    let Some(certificate) = certificates.find(|it| Some(&it["spec"]["secretName"]) == secret)
    else {
        return found.push(format!("{name}: no Certificate makes its link-tls"));
    };
    let spec = &certificate["spec"];
    let id = format!("spiffe://heddle/{name}");
    if list(&spec["uris"]) != [Value::from(id.as_str())] {
        found.push(format!("{name}: its certificate is not for {id} alone"));
    }
    for host in [name.to_owned(), format!("*.{name}.heddle.svc")] {
        if !list(&spec["dnsNames"]).contains(&Value::from(host.as_str())) {
            found.push(format!("{name}: its certificate lacks the name {host}"));
        }
    }
}

/// Lists of addresses name each pod that there is, and no other.
fn links(manifests: &Manifests, caller: Workload<'_>, found: &mut Vec<String>) {
    for (variable, value) in manifests.variables(caller) {
        if !variable.ends_with("_URLS") {
            continue;
        }
        let urls: Vec<String> = serde_json::from_str(&value).unwrap_or_default();
        let callee = urls.first().and_then(|url| callee(manifests, url));
        let expected = callee.map(addresses).unwrap_or_default();
        if urls.is_empty() || urls != expected {
            found.push(format!(
                "{}: {variable} is {urls:?}, and there is {expected:?}",
                caller.name
            ));
        }
    }
}

/// `https://chat-svc-0.chat-svc.heddle.svc:7448` means the workload `chat-svc`.
fn callee<'a>(manifests: &'a Manifests, url: &str) -> Option<Workload<'a>> {
    let name = url.split('.').nth(1)?;
    manifests.workloads().into_iter().find(|it| it.name == name)
}

fn addresses(callee: Workload<'_>) -> Vec<String> {
    let replicas = callee.whole["spec"]["replicas"].as_u64().unwrap_or(1);
    let (name, port) = (callee.name, callee.port("grpc").unwrap_or_default());
    let address = |at: u64| format!("https://{name}-{at}.{name}.heddle.svc:{port}");
    (0..replicas).map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::rules::fixture::{each_is_found, planted};

    fn found(from: &str, to: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(&planted(from, to), &[("chat-svc", "chat-svc")], &mut found);
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
                "podSelector: {}",
                "podSelector: {matchLabels: {a: b}}",
                "denies",
            ),
            ("- from:", "- nobody:", "lets anybody through"),
            ("- to:", "- nobody:", "lets anybody through"),
            (
                "port: 7448}]\n  egress",
                "port: 7449}]\n  egress",
                "into the callee false",
            ),
            ("  egress:\n", "  other:\n", "out of the caller false"),
            ("replicas: 2", "replicas: 3", "HEDDLE_PEER_URLS"),
            (
                "chat-svc-1.chat-svc",
                "chat-svc-2.chat-svc",
                "HEDDLE_PEER_URLS",
            ),
            (
                "https://chat-svc-0",
                "http://chat-svc-0",
                "HEDDLE_PEER_URLS",
            ),
            (
                "publishNotReadyAddresses: true",
                "other: true",
                "ready or not",
            ),
            ("targetPort: grpc", "targetPort: metrics", "does not lead"),
            (
                "spiffe://heddle/chat-svc",
                "spiffe://heddle/gateway",
                "not for spiffe",
            ),
            ("\"*.chat-svc.heddle.svc\"", "other", "lacks the name"),
            (
                "secretName: chat-svc-tls}",
                "secretName: chat-tls}",
                "no Certificate",
            ),
        ];
        each_is_found(&mistakes, found);
        let stranger = [("chat-svc", "history-svc")];
        let mut found = Vec::new();
        check(&planted("", ""), &stranger, &mut found);
        assert!(
            found[0].contains("chat-svc -> chat-svc: wanted false"),
            "{found:?}"
        );
    }
}
