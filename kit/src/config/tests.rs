//! Tests of `config`: which source wins, what errors say, and that the sample loads.

use std::path::PathBuf;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

crate::config! {
    /// A section.
    pub struct Listener {
        /// How many may wait.
        pub queue_len_max: usize = 16,
        /// Where to listen.
        pub address: Option<std::net::SocketAddr> = None,
    }
}

crate::config! {
    /// The whole.
    pub struct Settings {
        /// A name.
        /// In two lines.
        pub name: String = "plain".into(),
        /// A share.
        pub ratio: f64 = 0.5,
        /// Some names.
        pub names: Vec<String> = vec!["a".into()],
    sections
        /// Where people come in.
        pub listener: Listener,
    }
}

fn file(directory: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("heddle.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<_> = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    owned.into_iter()
}

#[derive(Default, Serialize)]
struct ListenerFlags {
    queue_len_max: Option<usize>,
}

#[derive(Default, Serialize)]
struct Flags {
    name: Option<String>,
    listener: ListenerFlags,
}

fn load_with(
    text: &str,
    environment: &[(&str, &str)],
    flags: impl Serialize,
) -> Result<Settings, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    load_from(Some(&file(&directory, text)), variables(environment), flags)
}

#[test]
fn later_sources_win() {
    let text = "name = 'from file'\nratio = 0.25\n[listener]\nqueue_len_max = 1";
    let environment = [
        ("HEDDLE_NAME", "from environment"),
        ("HEDDLE_LISTENER__QUEUE_LEN_MAX", "2"),
    ];
    let flags = Flags {
        name: Some("from flags".into()),
        ..Flags::default()
    };
    let settings = load_with(text, &environment, flags).unwrap();
    assert_eq!(settings.name, "from flags");
    assert_eq!(settings.listener.queue_len_max, 2);
    assert_eq!(settings.ratio, 0.25);
    assert_eq!(settings.names, ["a"]);
}

#[test]
fn a_flag_within_a_section_leaves_its_neighbours() {
    let listener = ListenerFlags {
        queue_len_max: Some(9),
    };
    let flags = Flags {
        listener,
        ..Flags::default()
    };
    let settings = load_with("[listener]\naddress = '127.0.0.1:1'", &[], flags).unwrap();
    assert_eq!(settings.listener.queue_len_max, 9);
    assert!(settings.listener.address.is_some());
}

#[test]
fn variables_of_others_are_left_alone() {
    let environment = [
        ("HEDDLE_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("HEDDLE_CONFIG", "/etc/heddle.toml"),
        ("LISTENER__QUEUE_LEN_MAX", "0"),
    ];
    assert_eq!(
        load_with("", &environment, ())
            .unwrap()
            .listener
            .queue_len_max,
        16
    );
}

#[test]
fn errors_name_the_field_and_where_it_came_from() {
    let error = load_with("[listener]\nqueue_len_max = 'many'", &[], ()).unwrap_err();
    let problem = &error.problems[0];
    assert_eq!(problem.field, "listener.queue_len_max");
    assert!(problem.origin.ends_with("heddle.toml"), "{problem:?}");
    assert_eq!(problem.reason, "expected usize, found text");

    let environment = [("HEDDLE_LISTENER__QUEUE_LEN_MAX", "-1")];
    let error = load_with("", &environment, ()).unwrap_err();
    assert_eq!(error.problems[0].field, "listener.queue_len_max");
    assert_eq!(error.problems[0].origin, "HEDDLE_LISTENER__QUEUE_LEN_MAX");

    let error = load_with("[listener]\nque_len = 1", &[], ()).unwrap_err();
    assert_eq!(error.problems[0].field, "listener.que_len");
    assert!(error.to_string().contains("queue_len_max"), "{error}");
}

#[test]
fn errors_do_not_show_values() {
    for value in ["12345678", "true"] {
        let error = load_with("", &[("HEDDLE_NAME", value)], ()).unwrap_err();
        assert!(!error.to_string().contains(value), "{error}");
        assert!(error.to_string().contains("double quotes"), "{error}");
    }
    let error = load_with("[listener]\naddress = 's3cret'", &[], ()).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let error = load_with("name = s3cret", &[], ()).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn a_missing_file_is_told() {
    let none = std::iter::empty();
    let error = load_from::<Settings>(Some(Path::new("/no/such.toml")), none, ()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/no/such.toml: there is no such file"),
        "{error}"
    );
}

#[test]
fn the_sample_explains_and_loads() {
    let sample = sample::<Settings>();
    assert!(
        sample.contains("# A name.\n# In two lines.\nname = \"plain\"\n"),
        "{sample}"
    );
    assert!(
        sample.contains("# Where people come in.\n[listener]\n"),
        "{sample}"
    );
    assert!(sample.contains("# address =\n"), "{sample}");
    let settings = load_with(&sample, &[], ()).unwrap();
    assert_eq!(settings.listener.queue_len_max, 16);
}

#[test]
fn a_secret_is_read_and_not_shown() {
    let secret = Secret::deserialize(serde::de::value::StrDeserializer::<figment::Error>::new(
        "s3",
    ));
    let secret = secret.unwrap();
    assert_eq!(secret.expose(), "s3");
    assert!(!format!("{secret:?}").contains("s3"));
}

proptest! {
    /// Whatever a file holds, loading answers; it does not panic.
    #[test]
    fn any_file_is_answered(text in "[a-z_.= \\[\\]\"0-9\n]{0,80}") {
        let _either = load_with(&text, &[], ());
    }
}
