//! Watch: alarms and the autoscaler look at metrics that exist, and each alarm has its page.

use std::collections::BTreeSet;

use crate::k8s::manifests::{Manifests, list, text};

/// Metrics of ours as Prometheus names them.
pub struct Metrics(BTreeSet<String>);

impl Metrics {
    /// Reads the table of `docs/telemetry.md`: name, kind and unit.
    pub fn of_page(page: &str) -> Self {
        let mut names = BTreeSet::new();
        for line in page.lines() {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let ["", name, kind, _, ""] = cells.as_slice() else {
                continue;
            };
            let Some(name) = name.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
                continue;
            };
            let name = name.replace('.', "_");
            let (kind, unit) = kind.split_once(", ").unwrap_or((kind, ""));
            let name = if unit == "s" {
                format!("{name}_seconds")
            } else {
                name
            };
            match kind {
                "counter" => drop(names.insert(format!("{name}_total"))),
                "histogram" => {
                    names.extend(["bucket", "count", "sum"].map(|part| format!("{name}_{part}")))
                }
                "gauge" | "up-down counter" => drop(names.insert(name)),
                _ => {}
            }
        }
        Self(names)
    }
}

/// All rules of this module; `page` is what operators read.
pub fn check(manifests: &Manifests, metrics: &Metrics, page: &str, found: &mut Vec<String>) {
    let groups = manifests
        .of_kind("PrometheusRule")
        .flat_map(|it| list(&it["spec"]["groups"]));
    for rule in groups.flat_map(|it| list(&it["rules"])) {
        let alarm = text(&rule["alert"]);
        if !page.contains(&format!("`{alarm}`")) {
            found.push(format!(
                "{alarm}: the operators' page does not say what to do"
            ));
        }
        for name in ours(text(&rule["expr"])) {
            if !metrics.0.contains(name) {
                found.push(format!("{alarm}: there is no metric {name}"));
            }
        }
    }
    for scaler in manifests.of_kind("HorizontalPodAutoscaler") {
        let target = &scaler["spec"]["scaleTargetRef"];
        if manifests
            .find(text(&target["kind"]), text(&target["name"]))
            .is_none()
        {
            found.push(format!("the autoscaler's target does not exist: {target}"));
        }
        for metric in list(&scaler["spec"]["metrics"]) {
            let name = text(&metric["pods"]["metric"]["name"]);
            if !metrics.0.contains(name) {
                found.push(format!("the autoscaler: there is no metric {name}"));
            }
        }
    }
}

/// Words of an expression that can only be metrics of ours.
fn ours(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| {
        word.starts_with("heddle_") || word.starts_with("rpc_server_") && word.contains("_seconds")
    };
    words.filter(is_metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::rules::fixture::each_is_found;

    const PAGE: &str = "| name | kind, unit | meaning |\n|---|---|---|\n\
        | `rpc.server.call.duration` | histogram, s | calls |\n\
        | `heddle.gateway.sessions` | up-down counter | open |\n\
        | `heddle.push.attempts` | counter | tries |\n";
    const RULES: &str = r#"
kind: PrometheusRule
spec:
  groups:
    - rules:
        - alert: Many
          expr: >-
            sum(rate(rpc_server_call_duration_seconds_count{rpc_response_status_code="OK"}[5m])) > 1
        - alert: Pushes
          expr: heddle_push_attempts_total{outcome="refused"} / heddle_gateway_sessions > 1
---
kind: Deployment
metadata: {name: gateway}
---
kind: HorizontalPodAutoscaler
spec:
  scaleTargetRef: {kind: Deployment, name: gateway}
  metrics: [{pods: {metric: {name: heddle_gateway_sessions}}}]
"#;

    fn found(from: &str, to: &str) -> Vec<String> {
        assert!(RULES.contains(from), "{from}");
        let manifests = Manifests::parse(&RULES.replacen(from, to, 1)).unwrap();
        let mut found = Vec::new();
        let page = "what to do: `Many`, `Pushes`";
        check(&manifests, &Metrics::of_page(PAGE), page, &mut found);
        found
    }

    #[test]
    fn what_is_right_is_left_alone() {
        assert_eq!(found("groups", "groups"), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_found() {
        let mistakes = [
            (
                "duration_seconds_count",
                "duration_seconds_total",
                "no metric rpc_server",
            ),
            (
                "attempts_total",
                "attempts",
                "no metric heddle_push_attempts",
            ),
            (
                "/ heddle_gateway_sessions",
                "/ heddle_gateway_session",
                "no metric",
            ),
            (
                "{name: heddle_gateway_sessions}",
                "{name: sessions}",
                "the autoscaler",
            ),
            (
                "kind: Deployment, name",
                "kind: StatefulSet, name",
                "target does not exist",
            ),
            ("alert: Many", "alert: Few", "Few: the operators' page"),
        ];
        each_is_found(&mistakes, found);
    }
}
