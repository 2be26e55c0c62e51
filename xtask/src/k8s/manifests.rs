//! Manifests: an overlay as kustomize renders it, and what the rules ask of it.
//!
//! Invariant: what is asked for and is not there reads as null, so that a rule finds it missing.

use serde_json::Value;

/// All that an overlay makes.
pub struct Manifests {
    all: Vec<Value>,
}

/// What keeps pods running: a Deployment or a StatefulSet.
#[derive(Clone, Copy)]
pub struct Workload<'a> {
    /// Its name, which is the service's, and the value of its pods' label.
    pub name: &'a str,
    /// All of it.
    pub whole: &'a Value,
}

/// The name of the container that is ours.
const CONTAINER: &str = "server";

impl Manifests {
    /// Reads what kustomize has written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let all = serde_saphyr::from_multiple(text).map_err(|why| why.to_string())?;
        Ok(Self { all })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Those of a kind.
    pub fn of_kind<'a, 'k>(
        &'a self,
        kind: &'k str,
    ) -> impl Iterator<Item = &'a Value> + use<'a, 'k> {
        self.all.iter().filter(move |it| it["kind"] == kind)
    }

    /// One of a kind, by name.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind).find(|it| it["metadata"]["name"] == name)
    }

    /// What keeps pods running.
    pub fn workloads(&self) -> Vec<Workload<'_>> {
        self.with_pods(&["Deployment", "StatefulSet"])
    }

    /// The same, and what runs once.
    pub fn workloads_and_jobs(&self) -> Vec<Workload<'_>> {
        self.with_pods(&["Deployment", "StatefulSet", "Job"])
    }

    fn with_pods<'a>(&'a self, kinds: &[&str]) -> Vec<Workload<'a>> {
        let is_one = |it: &&Value| kinds.iter().any(|kind| it["kind"] == *kind);
        let workload = |whole: &'a Value| Workload {
            name: text(&whole["metadata"]["name"]),
            whole,
        };
        self.all.iter().filter(is_one).map(workload).collect()
    }

    /// The value of a variable, looked up where it comes from.
    fn value(&self, variable: &Value) -> Option<String> {
        if let Some(value) = variable["value"].as_str() {
            return Some(value.to_owned());
        }
        let from = &variable["valueFrom"]["configMapKeyRef"];
        let map = self.find("ConfigMap", text(&from["name"]))?;
        Some(map["data"][text(&from["key"])].as_str()?.to_owned())
    }

    /// A pod's settings by variable, those with values that the manifests know.
    pub fn variables(&self, workload: Workload<'_>) -> Vec<(String, String)> {
        let known = |it: &Value| Some((text(&it["name"]).to_owned(), self.value(it)?));
        list(&workload.container()["env"])
            .iter()
            .filter_map(known)
            .collect()
    }

    /// One of them.
    pub fn variable(&self, workload: Workload<'_>, name: &str) -> Option<String> {
        let variables = self.variables(workload).into_iter();
        variables
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value)
            .next_back()
    }
}

impl<'a> Workload<'a> {
    /// What its pods are.
    pub fn pod(&self) -> &'a Value {
        &self.whole["spec"]["template"]["spec"]
    }

    /// Our container.
    pub fn container(&self) -> &'a Value {
        let containers = list(&self.pod()["containers"]).iter();
        containers
            .clone()
            .find(|it| it["name"] == CONTAINER)
            .unwrap_or(&Value::Null)
    }

    /// The program that runs, without its directory.
    pub fn program(&self) -> &'a str {
        let command = text(&self.container()["command"][0]);
        command.rsplit('/').next().unwrap_or(command)
    }

    /// The port of that name.
    pub fn port(&self, name: &str) -> Option<u64> {
        let ports = list(&self.container()["ports"]).iter();
        ports.clone().find(|it| it["name"] == name)?["containerPort"].as_u64()
    }

    /// Whether a selector of labels (`matchLabels`, `matchExpressions`) takes its pods.
    pub fn is_selected(&self, selector: &Value) -> bool {
        let labels = &self.whole["spec"]["template"]["metadata"]["labels"];
        let no_labels = serde_json::Map::new();
        let wanted = selector["matchLabels"].as_object().unwrap_or(&no_labels);
        let expressions = list(&selector["matchExpressions"]);
        wanted.iter().all(|(label, value)| &labels[label] == value)
            && expressions.iter().all(|it| {
                it["operator"] == "In" && list(&it["values"]).contains(&labels[text(&it["key"])])
            })
    }
}

/// A text, empty where there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list, empty where there is none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
