//! `heddle serve`: everything in one process on the embedded store.
//!
//! Flags become settings, the data directory and its signing key are made, [`assemble`] starts the
//! services, and `welcome` says what to do next. kit runs the process and drains it.

pub mod assemble;
mod welcome;

use crate::failure::{Failure, Outcome};
use crate::{keys, paths};
use assemble::ServeConfig;
use clap::Args;
use heddle_kit::run::{Context, StartError, block_on};
use heddle_kit::telemetry::TelemetryOptions;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use welcome::Welcome;

/// What the allocator reads before main: no huge pages, which double the memory of an idle session.
const NO_HUGE_PAGES: &str = "MIMALLOC_ALLOW_THP";

/// What is logged unless settings say otherwise: libraries only when something is wrong.
const LOG: &str = "info,opentelemetry=warn,fjall=warn,lsm_tree=warn";

/// Everything in one process
#[derive(Args, Debug, Default)]
#[command(after_help = "Examples:
  heddle serve
  heddle serve --data ./data --listen 0.0.0.0:7447 --tls-cert cert.pem --tls-key key.pem
  heddle serve --set gateway.limits.group_members_max=1000
  heddle serve --sample-config > heddle.toml && heddle serve --config heddle.toml")]
pub struct ServeArgs {
    /// Where everything is kept [default: heddle in your data home]
    #[arg(long, value_name = "DIR", env = "HEDDLE_DATA")]
    data: Option<PathBuf>,
    /// Where devices, browsers and back ends connect [default: 127.0.0.1:7447]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The certificate chain, PEM; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Where metrics are served for Prometheus, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Settings to start from, a TOML file
    #[arg(long, value_name = "FILE", env = "HEDDLE_CONFIG")]
    config: Option<PathBuf>,
    /// One setting, such as gateway.limits.group_members_max=1000; may be given many times
    #[arg(long, value_name = "FIELD=VALUE", value_parser = setting)]
    set: Vec<(String, toml::Value)>,
    /// Prints a settings file with all defaults, and ends
    #[arg(long)]
    sample_config: bool,
    /// Prints one line of JSON when ready, and no welcome
    #[arg(long)]
    json: bool,
}

/// Runs the server to its end.
pub fn run(args: ServeArgs) -> Outcome<ExitCode> {
    if args.sample_config {
        print!("{}", heddle_kit::config::sample::<ServeConfig>());
        return Ok(ExitCode::SUCCESS);
    }
    without_huge_pages();
    let config = configured(&args)?;
    make_data_dir(&config.history.data_dir)?;
    let process = config.process.clone();
    let start = move |context| start(context, args.json);
    Ok(block_on("serve", &process, config, start))
}

async fn start(context: Context<ServeConfig>, is_json: bool) -> Result<(), StartError> {
    let Context { config, tasks, .. } = context;
    let data = config.history.data_dir.clone();
    let secure = config.tls.certificate.is_some();
    let own_key = config.gateway.auth.key_file.as_deref() == Some(&*keys::public_path(&data));
    let address = assemble::start(config, &tasks).await?;
    if is_json {
        println!(
            "{}",
            json!({"listening": address.to_string(), "pid": std::process::id()})
        );
    } else {
        let welcome = Welcome {
            address,
            data: &data,
            secure,
            own_key,
        };
        print!("{}", welcome.text());
    }
    Ok(())
}

/// Settings from file, environment and flags, with what only this shape needs.
fn configured(args: &ServeArgs) -> Outcome<ServeConfig> {
    let mut flags = toml::Table::new();
    let mut set = |field: &str, value: Option<String>| {
        if let Some(value) = value {
            put(&mut flags, field, toml::Value::String(value));
        }
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    set("listen", args.listen.map(|address| address.to_string()));
    set("tls.certificate", path(&args.tls_cert));
    set("tls.key", path(&args.tls_key));
    set(
        "process.metrics_address",
        args.metrics_listen.map(|address| address.to_string()),
    );
    set("history.data_dir", path(&args.data));
    for (field, value) in &args.set {
        put(&mut flags, field, value.clone());
    }
    let loaded = heddle_kit::config::load::<ServeConfig>(args.config.as_deref(), flags);
    let mut config = loaded.map_err(|error| {
        Failure::new(error).hint("`heddle serve --sample-config` shows all settings")
    })?;
    if config.history.data_dir == ServeConfig::default().history.data_dir {
        config.history.data_dir = paths::default_data_dir();
    }
    let data = config.history.data_dir.clone();
    if config.process.telemetry.log == TelemetryOptions::default().log {
        config.process.telemetry.log = LOG.to_owned();
    }
    if config.gateway.auth.key_file.is_none() {
        make_data_dir(&data)?;
        keys::ensure(&data)?;
        config.gateway.auth.key_file = Some(keys::public_path(&data));
    }
    Ok(config)
}

fn make_data_dir(data: &Path) -> Outcome {
    std::fs::create_dir_all(data).map_err(|error| {
        let text = format!("cannot make the data directory {}: {error}", data.display());
        Failure::new(text).hint("name another with --data")
    })
}

/// The allocator decides on huge pages before main begins, from its environment: so begin again
/// with it set. Does nothing where that cannot be done; the server only uses more memory then.
fn without_huge_pages() {
    use std::os::unix::process::CommandExt;
    if std::env::var_os(NO_HUGE_PAGES).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let error = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(NO_HUGE_PAGES, "0")
            .exec();
        eprintln!("heddle: cannot begin again without huge pages: {error}");
    }
}

/// Reads `field=value`; a value that is not TOML is text.
fn setting(text: &str) -> Result<(String, toml::Value), String> {
    let (field, value) = text
        .split_once('=')
        .ok_or("write it as section.field=value")?;
    let parsed = format!("value = {value}").parse::<toml::Table>().ok();
    let parsed = parsed.and_then(|mut table| table.remove("value"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    Ok((field.trim().to_owned(), value))
}

/// Puts a value at a field named with dots.
fn put(table: &mut toml::Table, field: &str, value: toml::Value) {
    match field.split_once('.') {
        None => {
            table.insert(field.to_owned(), value);
        }
        Some((section, rest)) => {
            let empty = || toml::Value::Table(toml::Table::new());
            let within = table.entry(section).or_insert_with(empty);
            if let toml::Value::Table(within) = within {
                put(within, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_settings_and_a_key_is_made() {
        let data = tempfile::tempdir().unwrap();
        let args = ServeArgs {
            data: Some(data.path().to_owned()),
            listen: Some("127.0.0.1:0".parse().unwrap()),
            set: vec![setting("gateway.limits.group_members_max=300").unwrap()],
            ..ServeArgs::default()
        };
        let config = configured(&args).unwrap();
        assert_eq!(config.gateway.limits.group_members_max, 300);
        assert_eq!(config.listen.port(), 0);
        let key = config.gateway.auth.key_file.unwrap();
        assert!(key.starts_with(data.path()) && key.exists());
    }

    #[test]
    fn a_data_directory_that_cannot_be_made_is_named() {
        let args = ServeArgs {
            data: Some("/dev/null/heddle".into()),
            ..ServeArgs::default()
        };
        let failure = configured(&args).err().unwrap().to_string();
        assert!(failure.contains("/dev/null/heddle"), "{failure}");
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let args = ServeArgs {
            set: vec![setting("gateway.limits.nonsense=3").unwrap()],
            ..ServeArgs::default()
        };
        let failure = configured(&args).err().unwrap().to_string();
        assert!(failure.contains("nonsense"), "{failure}");
    }
}
