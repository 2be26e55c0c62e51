//! grpcurl: every line of docs/proto.md works, and there is one for every RPC (issue section 2).

use heddle_e2e::{
    Person, Raw, World, eventually, missing, people::id_of, pushes::offline, raw, stuck,
    wire::mint, world::Failure,
};
use heddle_proto::PUBLIC_DESCRIPTORS;
use heddle_sdk::{ConversationId, text, v1};
use prost::Message;
use serde_json::json;
use std::path::{Path, PathBuf};
use tokio::process::Command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proto.md");
/// What grpcurl exits with when `-max-time` ends a stream: 64 and DEADLINE_EXCEEDED.
const OUT_OF_TIME: i32 = 68;

/// The real grpcurl; without one nothing is proved, which is loud, and in CI a failure.
fn grpcurl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/bin");
    let places = std::env::split_paths(&path).chain([PathBuf::from(tools)]);
    let found = places
        .map(|place| place.join("grpcurl"))
        .find(|file| file.is_file());
    if found.is_none() {
        missing::loudly("grpcurl is not installed; `cargo xtask test` installs it with Go");
    }
    found
}

/// The fenced command lines that call grpcurl.
fn lines(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    for block in page.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        if block.starts_with("grpcurl ") {
            blocks.push(block.trim().to_owned());
        }
    }
    blocks
}

/// The RPCs of the public protocol, as `package.Service/Method`.
fn methods() -> Result<Vec<String>, Failure> {
    let files = prost_types::FileDescriptorSet::decode(PUBLIC_DESCRIPTORS)?;
    let mut methods = Vec::new();
    for file in files
        .file
        .iter()
        .filter(|file| file.package() == "heddle.v1")
    {
        for service in &file.service {
            let full = |method: &str| format!("heddle.v1.{}/{method}", service.name());
            methods.extend(service.method.iter().map(|method| full(method.name())));
        }
    }
    Ok(methods)
}

/// A world as the page takes it to be, and what its variables stand for.
async fn prepared(world: &mut World) -> Result<(Raw, Vec<(&'static str, String)>), Failure> {
    let set_aside = stuck::set_aside(world).await?;
    set_aside.faults.hide_rows(None);
    let world = &*world;
    let token = world.signer.token("alice", json!({}));
    let alice = world.person("alice", "terminal").await?;
    let direct = alice.client.create_direct("bob").await?;
    let others = vec!["bob".to_owned(), "carol".to_owned()];
    let group = alice.client.create_group("Weavers", others).await?;
    for words in ["one", "two", "three"] {
        alice.session.send(id_of(&group)?, text(words)).await?;
    }
    let letter = dead_letter(world, &alice, id_of(&direct)?).await?;
    let mut session = Raw::open(raw::connect(&world.url()).await?, &token).await?;
    let hello = v1::Hello {
        device_id: "phone".into(),
        foreground: true,
        ..Default::default()
    };
    let opened = session.hello(hello).await?;
    let variables = vec![
        ("ADDRESS", world.address().to_string()),
        (
            "ADMIN_TOKEN",
            world.signer.token("ops", json!({"admin": true})),
        ),
        ("DEAD_LETTER", letter.dead_letter_id),
        ("PUSH_ID", letter.push_id),
        ("DIRECT", base64(&direct.conversation_id)),
        ("GROUP", base64(&group.conversation_id)),
        ("SESSION", opened.session_id),
        ("STUCK", set_aside.piece.stuck_id),
        ("TOKEN", token),
    ];
    Ok((session, variables))
}

/// A push to alice's watch that is given up: it is to be posted to a server inside.
async fn dead_letter(
    world: &World,
    alice: &Person,
    direct: ConversationId,
) -> Result<v1::DeadLetter, Failure> {
    offline(world, "alice", "watch").await?;
    let inside = v1::WebhookTarget {
        url: "https://127.0.0.1/hook".into(),
        secret: vec![7; 32].into(),
    };
    let target = v1::push_registration::Target::Webhook(inside);
    alice.client.register_push("watch", target).await?;
    let bob = world.person("bob", "phone").await?;
    bob.say(direct, "are you there?").await?;
    let admin = world.signer.token("ops", json!({"admin": true}));
    let admin = world.client_with(admin, "terminal").await?;
    let found = eventually("a dead letter", || async {
        admin.dead_letters("", "").await.ok()?.dead_letters.pop()
    });
    Ok(found.await)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(grpcurl: &Path, line: &str, variables: &[(&str, String)]) -> Result<Ran, Failure> {
    let ours = grpcurl.parent().ok_or("grpcurl is in no directory")?;
    let theirs = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        [ours.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&theirs)),
    )?;
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", line])
        .env("PATH", path)
        .env("ID", base64(mint().as_bytes()));
    shell.envs(variables.iter().map(|(name, value)| (*name, value)));
    let ran = shell.output().await?;
    Ok(Ran {
        code: ran.status.code(),
        out: String::from_utf8_lossy(&ran.stdout).into_owned(),
        err: String::from_utf8_lossy(&ran.stderr).into_owned(),
    })
}

/// The page has a line for each RPC that the protocol has.
#[test]
fn every_rpc_has_a_line() -> Result<(), Failure> {
    let lines = lines(&std::fs::read_to_string(PAGE)?);
    let named = |method: &str| lines.iter().any(|line| line.ends_with(method));
    let unnamed: Vec<_> = methods()?
        .into_iter()
        .filter(|method| !named(method))
        .collect();
    assert_eq!(unnamed, [""; 0], "docs/proto.md has no line for these");
    Ok(())
}

/// Each line does what it says, from top to bottom.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_works() -> Result<(), Failure> {
    let Some(grpcurl) = grpcurl() else {
        return Ok(());
    };
    let mut world = World::start_with(|config| {
        stuck::settings(config);
        config.chat.push_grace_ms = 300;
    })
    .await?;
    let (session, variables) = prepared(&mut world).await?;
    let mut failed = Vec::new();
    for line in lines(&std::fs::read_to_string(PAGE)?) {
        let ran = run(&grpcurl, &line, &variables).await?;
        let stream_ended = line.contains("-max-time") && ran.code == Some(OUT_OF_TIME);
        if ran.code != Some(0) && !stream_ended {
            failed.push(format!("{line}\n{:?}: {}{}", ran.code, ran.out, ran.err));
        }
    }
    assert!(
        failed.is_empty(),
        "lines of docs/proto.md that fail:\n{}",
        failed.join("\n\n")
    );
    drop(session);
    world.stop().await;
    Ok(())
}

/// Reflection in both versions, and health, tell of all public services.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_describes_itself() -> Result<(), Failure> {
    let Some(grpcurl) = grpcurl() else {
        return Ok(());
    };
    let world = World::start().await?;
    let variables = [("ADDRESS", world.address().to_string())];
    for version in ["v1", "v1alpha"] {
        let line = format!(
            r#"grpcurl -plaintext -d '{{"list_services": ""}}' $ADDRESS \
            grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"#
        );
        let ran = run(&grpcurl, &line, &variables).await?;
        for service in heddle_gateway::SERVICES {
            assert!(
                ran.out.contains(service),
                "{version}: no {service} in {}{}",
                ran.out,
                ran.err
            );
        }
    }
    for service in heddle_gateway::SERVICES {
        let line = format!(
            r#"grpcurl -plaintext -d '{{"service": "{service}"}}' $ADDRESS \
            grpc.health.v1.Health/Check"#
        );
        let ran = run(&grpcurl, &line, &variables).await?;
        assert!(
            ran.out.contains("SERVING"),
            "{service}: {}{}",
            ran.out,
            ran.err
        );
    }
    world.stop().await;
    Ok(())
}

/// A person with grpcurl can read why a call failed: reason, domain and field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_details_can_be_read() -> Result<(), Failure> {
    let Some(grpcurl) = grpcurl() else {
        return Ok(());
    };
    let world = World::start().await?;
    let token = world.signer.token("alice", json!({}));
    let variables = [("ADDRESS", world.address().to_string()), ("TOKEN", token)];
    let line = r#"grpcurl -plaintext -H "authorization: Bearer $TOKEN" \
        -d '{"conversation_id": "AAAA"}' $ADDRESS heddle.v1.ConversationService/GetConversation"#;
    let ran = run(&grpcurl, line, &variables).await?;
    assert_ne!(ran.code, Some(0));
    let told = [
        "InvalidArgument",
        "must have 16 bytes",
        "google.rpc.ErrorInfo",
        "\"INVALID_FIELD\"",
        "\"heddle.dev\"",
        "google.rpc.BadRequest",
        "\"conversation_id\"",
    ];
    for part in told {
        assert!(ran.err.contains(part), "no {part} in {}", ran.err);
    }
    world.stop().await;
    Ok(())
}
