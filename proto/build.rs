//! Generates the wire types: everything once, and the two services that devices use a second time
//! over the opaque twins of `edge.proto`, so that the gateway never decodes a message's content.

use prost::Message as _;
use std::{env, fs, path::PathBuf};

/// Public messages that the gateway handles with their content opaque.
const RAW_TWINS: [&str; 7] = [
    "OpenSessionRequest",
    "SendMessageRequest",
    "EditMessageRequest",
    "OpenSessionResponse",
    "SubscribeResponse",
    "ListEventsResponse",
    "ListHistoryResponse",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Vec::new();
    for folder in ["proto/heddle/v1", "proto/heddle/internal/v1"] {
        println!("cargo:rerun-if-changed={folder}");
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, ["proto"])?;
    let mut public = descriptors.clone();
    public
        .file
        .retain(|file| !file.package().starts_with("heddle.internal"));
    fs::write(out.join("public.bin"), public.encode_to_vec())?;
    fs::write(out.join("all.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .boxed(".heddle.internal.v1.Command.op.append")
        .boxed(".heddle.internal.v1.Command.op.redrive_stuck")
        .extern_path(".heddle.v1", "crate::v1")
        .compile_fds(descriptors.clone())?;
    // Second, since the pass above leaves an empty module for the package that it refers to.
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .compile_fds(public)?;

    let edge = out.join("edge");
    fs::create_dir_all(&edge)?;
    let mut services = descriptors;
    for file in &mut services.file {
        let kept = ["heddle/v1/session.proto", "heddle/v1/history_service.proto"];
        if !kept.contains(&file.name()) {
            file.service.clear();
        }
    }
    let mut builder = tonic_prost_build::configure()
        .out_dir(&edge)
        .build_client(true)
        .codec_path("crate::codec::EdgeCodec");
    for twin in RAW_TWINS {
        builder = builder.extern_path(
            format!(".heddle.v1.{twin}"),
            format!("crate::internal::Raw{twin}"),
        );
    }
    builder
        .extern_path(".heddle.internal.v1", "crate::internal")
        .extern_path(".heddle.v1", "crate::v1")
        .compile_fds(services)?;
    Ok(())
}
