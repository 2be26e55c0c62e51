//! Container file: that the image's recipe fits the checkout. Building it takes a container engine,
//! so what is said here is all that the suite knows of it.
//!
//! Invariant: each crate of the workspace is copied (cargo reads the manifests of all), and each
//! program that a manifest runs is in the image.

use toml::Table;

/// What to mend; `workspace` is the root's `Cargo.toml`, `toolchain` the `rust-toolchain.toml`.
pub fn check(recipe: &str, workspace: &str, toolchain: &str, programs: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let parsed = |text: &str| text.parse::<Table>().unwrap_or_default();
    let members = parsed(workspace);
    let members = members.get("workspace").and_then(|it| it.get("members"));
    let members = members.and_then(toml::Value::as_array).cloned();
    for member in members.unwrap_or_default() {
        let member = member.as_str().unwrap_or_default().to_owned();
        if !recipe
            .lines()
            .any(|line| line == format!("COPY {member} {member}"))
        {
            found.push(format!("{member} is not copied into the build"));
        }
    }
    let toolchain = parsed(toolchain);
    let channel = toolchain.get("toolchain").and_then(|it| it.get("channel"));
    let channel = channel.and_then(toml::Value::as_str).unwrap_or("?");
    let minor = channel.rsplit_once('.').map_or(channel, |(minor, _)| minor);
    if !recipe.contains(&format!("/rust:{minor}-")) {
        found.push(format!(
            "the build is not with Rust {minor}, as rust-toolchain.toml says"
        ));
    }
    let copied = recipe
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("&& cp "));
    for program in programs {
        let is_there = copied.is_some_and(|line| line.split(' ').any(|word| word == *program));
        if !is_there {
            found.push(format!("{program} is not in the image"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "FROM docker.io/library/rust:1.95-bookworm AS build\nCOPY kit kit\n\
                          RUN cargo build \\\n    && cp gateway chat-svc /out/\n";

    fn found(recipe: &str) -> Vec<String> {
        let workspace = "[workspace]\nmembers = [\"kit\"]";
        let toolchain = "[toolchain]\nchannel = \"1.95.0\"";
        check(recipe, workspace, toolchain, &["gateway", "chat-svc"])
    }

    #[test]
    fn what_is_missing_is_found() {
        assert_eq!(found(RECIPE), Vec::<String>::new());
        for (from, to, told) in [
            ("COPY kit kit", "COPY gateway gateway", "kit is not copied"),
            ("rust:1.95-", "rust:1.94-", "not with Rust 1.95"),
            (
                "cp gateway chat-svc",
                "cp gateway",
                "chat-svc is not in the image",
            ),
        ] {
            let found = found(&RECIPE.replace(from, to));
            assert!(found.len() == 1 && found[0].contains(told), "{found:?}");
        }
    }
}
