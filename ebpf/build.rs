//! Compiles `bpf/swarmnet.bpf.c` with clang into `OUT_DIR/swarmnet.bpf.o`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const INSTALL: &str = "install clang: apt-get install clang libbpf-dev";

fn main() {
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-changed=bpf");
    for entry in std::fs::read_dir("bpf").expect("the folder bpf is part of the crate").flatten() {
        println!("cargo::rerun-if-changed={}", entry.path().display());
    }
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    compile(&PathBuf::from(out).join("swarmnet.bpf.o"));
}

fn compile(object: &Path) {
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    #[expect(clippy::disallowed_methods, reason = "build scripts may run the compiler")]
    let mut command = Command::new(&clang);
    command
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-Ibpf"])
        .args(system_includes())
        .args(["-c", "bpf/swarmnet.bpf.c", "-o"])
        .arg(object);
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!(
            "{clang} could not compile bpf/swarmnet.bpf.c ({status}); if a header under bpf/ or \
             linux/ is missing, {INSTALL}"
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fail(&format!("{clang} not found; {INSTALL}"));
        }
        Err(error) => fail(&format!("running {clang}: {error}")),
    }
}

/// Debian keeps `asm/types.h` in a folder per architecture, which the bpf target does not search.
fn system_includes() -> Vec<String> {
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let folder = format!("/usr/include/{arch}-linux-gnu");
    if Path::new(&folder).is_dir() { vec!["-idirafter".to_owned(), folder] } else { Vec::new() }
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}
