//! Schemas: what kubeconform holds manifests against, made from the projects' own sources.
//!
//! Kubernetes publishes its OpenAPI specification with its code, operators their CRDs; both come as
//! Go modules ([`crate::tools`]). Each kind becomes one file in JSON that holds all it refers to.
//!
//! Invariant: a field that a kind does not have is an error, as it is where `kubectl` validates.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::check::Failure;
use crate::tools::Module;

/// How kubeconform finds the file of a kind.
pub const FILES: &str = "{{.ResourceKind}}_{{.Group}}_{{.ResourceAPIVersion}}.json";

const REFERENCE: &str = "#/components/schemas/";

/// Where kinds are described.
pub enum Source {
    /// Specifications within a module, each of one group.
    OpenApi(Module, &'static [&'static str]),
    /// Custom resources within a module, as YAML.
    Resources(Module, &'static [&'static str]),
}

/// What our manifests use.
pub const SOURCES: &[Source] = &[
    Source::OpenApi(
        Module("k8s.io/kubernetes@v1.37.2"),
        &[
            "api/openapi-spec/v3/api__v1_openapi.json",
            "api/openapi-spec/v3/apis__apps__v1_openapi.json",
            "api/openapi-spec/v3/apis__autoscaling__v2_openapi.json",
            "api/openapi-spec/v3/apis__batch__v1_openapi.json",
            "api/openapi-spec/v3/apis__networking.k8s.io__v1_openapi.json",
            "api/openapi-spec/v3/apis__policy__v1_openapi.json",
        ],
    ),
    Source::Resources(
        Module("github.com/cert-manager/cert-manager@v1.21.2"),
        &[
            "deploy/crds/cert-manager.io_certificates.yaml",
            "deploy/crds/cert-manager.io_issuers.yaml",
        ],
    ),
    Source::Resources(
        Module("github.com/prometheus-operator/prometheus-operator@v0.85.0"),
        &[
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ],
    ),
];

/// Writes the files of all [`SOURCES`] to `directory`, unless an earlier run has.
pub fn write(directory: &Path) -> Result<(), Failure> {
    let made_of = directory.join("made-of");
    let text = names();
    if fs::read_to_string(&made_of).is_ok_and(|earlier| earlier == text) {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    for source in SOURCES {
        let (module, files) = match source {
            Source::OpenApi(module, files) | Source::Resources(module, files) => (module, files),
        };
        let root = module.fetch()?;
        for file in *files {
            let text = fs::read_to_string(root.join(file))?;
            let kinds = match source {
                Source::OpenApi(..) => of_specification(&text),
                Source::Resources(..) => of_resource(&text),
            };
            for (name, schema) in kinds.map_err(|why| Failure::wrong(format!("{file}: {why}")))? {
                fs::write(directory.join(name), schema.to_string())?;
            }
        }
    }
    Ok(fs::write(made_of, text)?)
}

fn names() -> String {
    let of = |source: &Source| match source {
        Source::OpenApi(module, files) | Source::Resources(module, files) => {
            format!("{} {files:?}\n", module.0)
        }
    };
    SOURCES.iter().map(of).collect()
}

/// The kinds of a specification of version 3.
fn of_specification(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut specification: Value = serde_json::from_str(text).map_err(|why| why.to_string())?;
    close(&mut specification["components"]["schemas"]);
    let schemas = &specification["components"]["schemas"];
    let schemas = schemas.as_object().ok_or("no components.schemas")?;
    let mut kinds = Vec::new();
    for (name, schema) in schemas {
        let Some([kind]) = schema["x-kubernetes-group-version-kind"]
            .as_array()
            .map(Vec::as_slice)
        else {
            continue;
        };
        let mut needed = BTreeSet::new();
        reach(name, schemas, &mut needed);
        let within: Map<_, _> = needed
            .into_iter()
            .map(|name| (name.clone(), schemas[&name].clone()))
            .collect();
        let whole = json!({
            "$ref": format!("{REFERENCE}{name}"),
            "components": { "schemas": within },
        });
        let of = |field: &str| kind[field].as_str().unwrap_or_default();
        kinds.push((file_name(of("kind"), of("group"), of("version")), whole));
    }
    Ok(kinds)
}

/// The versions of a custom resource.
fn of_resource(text: &str) -> Result<Vec<(String, Value)>, String> {
    let resource: Value = serde_saphyr::from_str(text).map_err(|why| why.to_string())?;
    let spec = &resource["spec"];
    let group = spec["group"].as_str().ok_or("no spec.group")?;
    let kind = spec["names"]["kind"].as_str().ok_or("no spec.names.kind")?;
    let versions = spec["versions"].as_array().ok_or("no spec.versions")?;
    let of_version = |version: &Value| {
        let name = version["name"].as_str().unwrap_or_default();
        let mut schema = version["schema"]["openAPIV3Schema"].clone();
        close(&mut schema);
        (file_name(kind, group, name), schema)
    };
    Ok(versions.iter().map(of_version).collect())
}

/// As [`FILES`] says; kinds of the core group have their version in the group's place.
fn file_name(kind: &str, group: &str, version: &str) -> String {
    let group = if group.is_empty() { version } else { group };
    format!("{}_{group}_{version}.json", kind.to_lowercase())
}

/// Forbids fields that an object's schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(close),
        Value::Object(parts) => {
            parts.values_mut().for_each(close);
            let names_fields = parts.get("properties").is_some_and(Value::is_object);
            let is_open = [
                "additionalProperties",
                "x-kubernetes-preserve-unknown-fields",
            ]
            .iter()
            .any(|word| parts.contains_key(*word));
            if names_fields && !is_open && parts.get("type").is_some_and(|kind| kind == "object") {
                parts.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        _ => {}
    }
}

/// Adds `name`, and whatever it refers to.
fn reach(name: &str, schemas: &Map<String, Value>, found: &mut BTreeSet<String>) {
    if !found.insert(name.to_owned()) {
        return;
    }
    let mut names = Vec::new();
    if let Some(schema) = schemas.get(name) {
        references(schema, &mut names);
    }
    for name in names {
        reach(&name, schemas, found);
    }
}

fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Array(parts) => parts.iter().for_each(|part| references(part, names)),
        Value::Object(parts) => {
            let name = parts.get("$ref").and_then(Value::as_str);
            names.extend(
                name.and_then(|it| it.strip_prefix(REFERENCE))
                    .map(str::to_owned),
            );
            parts.values().for_each(|part| references(part, names));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_all_it_refers_to_and_nothing_else() {
        let text = r##"{"components": {"schemas": {
            "Pod": {"type": "object",
                    "properties": {"spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}]}},
                    "x-kubernetes-group-version-kind":
                        [{"group": "", "kind": "Pod", "version": "v1"}]},
            "Spec": {"type": "object",
                     "properties": {"self": {"$ref": "#/components/schemas/Spec"}}},
            "Other": {"type": "string"}}}}"##;
        let kinds = of_specification(text).unwrap();
        let [(name, schema)] = kinds.as_slice() else {
            panic!("{kinds:?}");
        };
        assert_eq!(name, "pod_v1_v1.json");
        let within = schema["components"]["schemas"].as_object().unwrap();
        assert_eq!(within.keys().collect::<Vec<_>>(), ["Pod", "Spec"]);
        assert_eq!(within["Spec"]["additionalProperties"], false);
    }

    #[test]
    fn a_custom_resource_is_closed_where_it_names_fields() {
        let text = "spec: {group: cert-manager.io, names: {kind: Issuer}, versions: [{name: v1, \
                    schema: {openAPIV3Schema: {type: object, \
                    properties: {spec: {type: object}}}}}]}";
        let kinds = of_resource(text).unwrap();
        assert_eq!(kinds[0].0, "issuer_cert-manager.io_v1.json");
        assert_eq!(kinds[0].1["additionalProperties"], false);
        assert!(kinds[0].1["properties"]["spec"]["additionalProperties"].is_null());
    }
}
