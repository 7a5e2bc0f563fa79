//! Compiles the protocol between nodes; needs no installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["dispatcher", "raft", "control", "ca", "logs"];
    let files = files.map(|name| format!("swarmnet/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
