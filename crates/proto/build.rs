//! Compiles `proto/` with protox, so that nobody needs to install protoc.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message as _;

const FILES: &[&str] = &[
    "mahavishnu/v1/approval.proto",
    "mahavishnu/v1/artifact.proto",
    "mahavishnu/v1/dead_letter.proto",
    "mahavishnu/v1/event.proto",
    "mahavishnu/v1/execution.proto",
    "mahavishnu/v1/orchestrator.proto",
    "mahavishnu/v1/schedule.proto",
    "mahavishnu/v1/workflow.proto",
    "mahavishnu/worker/v1/checkpoint.proto",
    "mahavishnu/worker/v1/coordinator.proto",
    "mahavishnu/worker/v1/engine_state.proto",
    "mahavishnu/worker/v1/log.proto",
    "mahavishnu/worker/v1/task.proto",
];

fn main() -> Result<(), Box<dyn error::Error>> {
    let root = "../../proto";
    println!("cargo::rerun-if-changed={root}");
    let descriptors = protox::compile(FILES, [root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::LimitedCodec")
        // Payloads stay in the buffer that they came in.
        .bytes(".mahavishnu.worker.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
