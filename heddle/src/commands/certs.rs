//! `heddle certs`: certificates for the services of a deployment, from an authority of its own.
//!
//! For development and for small deployments; larger ones have cert-manager or SPIRE make the same.
//! A service is known by the SPIFFE id in its certificate.
//!
//! Invariant: an authority that is there is used, never replaced, so that running services go on
//! trusting what is issued; private keys are readable by their owner only.

use crate::failure::{Failure, Outcome};
use crate::keys;
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::DnsName;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// The services that have certificates.
const SERVICES: [&str; 5] = [
    "gateway",
    "chat-svc",
    "history-svc",
    "presence-svc",
    "notify-svc",
];
/// How long the authority is good for.
const AUTHORITY_DAYS: i64 = 3650;
/// Clocks of machines differ.
const BACKDATED: Duration = Duration::hours(1);

/// Make an authority and a certificate for each service
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle certs --out certs
  heddle certs --out certs --host chat-1.internal --host 10.0.0.7 --days 30
  chat-svc --set tls.certificate='\"certs/chat-svc.pem\"' --set tls.key='\"certs/chat-svc.key\"' \\
    --set tls.ca='\"certs/ca.pem\"'

Run it again to renew the certificates: services read them again while they run.")]
pub struct CertsArgs {
    /// The directory; an authority that lies there is used
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// A name or address at which services are reached, besides localhost
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// The trust domain of the services' ids, spiffe://DOMAIN/SERVICE
    #[arg(long, value_name = "DOMAIN", default_value = "heddle")]
    domain: String,
    /// Days for which the services' certificates are good
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = days())]
    days: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Makes the files.
pub fn run(args: &CertsArgs) -> Outcome {
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::new(format!("cannot make {}: {error}", args.out.display()))
            .hint("name a directory of yours with --out")
    })?;
    let authority = authority(&args.out)?;
    for service in SERVICES {
        let key = KeyPair::generate().map_err(broken)?;
        let certificate = params(service, args)?.signed_by(&key, &authority);
        let pem = certificate.map_err(broken)?.pem();
        // The key first: a service that reads between the two keeps what it has.
        keys::write(
            &file(args, service, "key"),
            key.serialize_pem().as_bytes(),
            0o600,
        )?;
        keys::write(&file(args, service, "pem"), pem.as_bytes(), 0o644)?;
    }
    say(args);
    Ok(())
}

/// The authority of the directory, made if there is none.
fn authority(out: &Path) -> Outcome<Issuer<'static, KeyPair>> {
    let (key_file, certificate_file) = (out.join("ca.key"), out.join("ca.pem"));
    let params = authority_params()?;
    if key_file.exists() {
        let pem = std::fs::read_to_string(&key_file).map_err(|error| {
            Failure::new(format!("cannot read {}: {error}", key_file.display()))
        })?;
        let key = KeyPair::from_pem(&pem)
            .map_err(|error| Failure::new(format!("{} is no key: {error}", key_file.display())))?;
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate().map_err(broken)?;
    let pem = params.self_signed(&key).map_err(broken)?.pem();
    keys::write(&certificate_file, pem.as_bytes(), 0o644)?;
    keys::write(&key_file, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(Issuer::new(params, key))
}

fn authority_params() -> Outcome<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(broken)?;
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "Heddle's own authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    good_for(&mut params, AUTHORITY_DAYS);
    Ok(params)
}

fn params(service: &str, args: &CertsArgs) -> Outcome<CertificateParams> {
    let mut names = vec!["localhost".to_owned(), service.to_owned()];
    for host in args.hosts.iter().filter(|host| address(host).is_none()) {
        DnsName::try_from(host.as_str()).map_err(|error| {
            Failure::new(format!("--host {host}: {error}")).hint("write a DNS name or an address")
        })?;
        names.push(host.clone());
    }
    let mut params = CertificateParams::new(names).map_err(broken)?;
    let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = own
        .into_iter()
        .chain(args.hosts.iter().filter_map(|host| address(host)));
    params
        .subject_alt_names
        .extend(addresses.map(SanType::IpAddress));
    let id = format!("spiffe://{}/{service}", args.domain);
    let id = id.try_into().map_err(|error| {
        Failure::new(format!("--domain: {error}")).hint("write a DNS name, such as heddle")
    })?;
    params.subject_alt_names.push(SanType::URI(id));
    params.distinguished_name.push(DnType::CommonName, service);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    good_for(&mut params, args.days.into());
    Ok(params)
}

/// As long as browsers and cert-manager would take.
fn days() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=825)
}

fn good_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(days);
}

fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

fn file(args: &CertsArgs, service: &str, kind: &str) -> PathBuf {
    args.out.join(format!("{service}.{kind}"))
}

fn broken(error: rcgen::Error) -> Failure {
    Failure::new(format!("no certificate: {error}"))
}

fn say(args: &CertsArgs) {
    let dir = args.out.display();
    if args.json {
        let services = SERVICES.map(|service| {
            json!({
                "service": service,
                "certificate": file(args, service, "pem"),
                "key": file(args, service, "key"),
            })
        });
        println!(
            "{}",
            json!({"ca": args.out.join("ca.pem"), "services": services})
        );
    } else {
        println!("{dir}/ca.pem            the authority: tls.ca of each service");
        println!("{dir}/SERVICE.pem, .key tls.certificate and tls.key (gateway: link_tls)");
        println!("good for {} days; run this again to renew", args.days);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_kit::Tasks;
    use heddle_kit::tls::{Inside, TlsOptions};

    fn args(out: &Path) -> CertsArgs {
        CertsArgs {
            out: out.to_owned(),
            hosts: vec!["chat-1.internal".into(), "10.0.0.7".into()],
            domain: "heddle".into(),
            days: 30,
            json: false,
        }
    }

    #[tokio::test]
    async fn services_can_use_what_is_made_and_renewing_keeps_the_authority() {
        heddle_kit::tls::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        run(&args(dir.path())).unwrap();
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let (authority, gateway) = (read("ca.pem"), read("gateway.pem"));
        for service in SERVICES {
            let options = TlsOptions {
                certificate: Some(dir.path().join(format!("{service}.pem"))),
                key: Some(dir.path().join(format!("{service}.key"))),
                ca: Some(dir.path().join("ca.pem")),
                require_client_certificate: false,
            };
            let everywhere = ([0, 0, 0, 0], 0).into();
            let inside = Inside::load(&options, everywhere, &Tasks::new("test")).unwrap();
            assert!(inside.server.is_some() && inside.client.is_some());
        }
        run(&args(dir.path())).unwrap();
        assert_eq!(read("ca.pem"), authority);
        assert_ne!(read("gateway.pem"), gateway);
    }

    #[test]
    fn a_host_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = args(dir.path());
        for host in ["not a host", "hôte", ""] {
            args.hosts = vec![host.into()];
            assert!(
                run(&args).unwrap_err().to_string().contains("--host"),
                "{host}"
            );
        }
    }
}
