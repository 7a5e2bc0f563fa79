//! Reads the sources and refuses what the architecture forbids: wrong dependency arrows, impure
//! "Pure" files, crates outside their home, files too large or never compiled.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that asks cargo")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file, tests at its end not counted.
const FILE_LINES_MAX: usize = 500;

/// Who may use whom; everything else is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    ("swarmnet-model", &[]),
    ("swarmnet-ebpf", &[]),
    ("swarmnet-proto", &["swarmnet-model"]),
    ("swarmnet-manager", &["swarmnet-model", "swarmnet-proto"]),
    ("swarmnet-agent", &["swarmnet-model", "swarmnet-proto", "swarmnet-ebpf"]),
    ("swarmnet-engine-api", &["swarmnet-model"]),
    (
        "swarmnet",
        &[
            "swarmnet-model",
            "swarmnet-proto",
            "swarmnet-manager",
            "swarmnet-agent",
            "swarmnet-ebpf",
            "swarmnet-engine-api",
        ],
    ),
    ("swarmnet-lab", &[]),
    ("swarmnet-tests", &[]),
];

/// A third-party crate and the folders that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("openraft", &["manager/src/raft"]),
    ("redb", &["manager/src/raft"]),
    ("rcgen", &["manager/src/ca", "swarmnet/src", "proto/src/transport"]),
    ("rtnetlink", &["agent/src/netlink"]),
    ("netlink_packet_route", &["agent/src/netlink"]),
    ("bollard", &["agent/src/engine"]),
    ("aya", &["ebpf"]),
    ("hyper", &["engine-api", "proto/src/transport", "agent"]),
    ("clap", &["swarmnet/src", "tests/lab"]),
    ("hickory_proto", &["agent/src/dns"]),
];

/// What a file that begins with `//! Pure:` may not name outside its tests.
const IMPURE: &[&str] = &[
    "tonic::",
    "aya::",
    "tracing::",
    "std::fs",
    "std::net::TcpStream",
    "async fn",
    ".await",
    "SystemTime::now",
    "Instant::now",
    "tokio::spawn",
    "tokio::fs",
    "tokio::net",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if matches!(path.extension().and_then(|e| e.to_str()), Some("rs" | "h" | "c")) {
                let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The part of a file before its `mod tests`; one item for tests alone, or the name of a file with
/// tests, ends nothing.
fn product_code(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn assert_none(what: &str, offences: &BTreeSet<String>) {
    let list = offences.iter().map(String::as_str).collect::<Vec<_>>().join("\n  ");
    assert!(offences.is_empty(), "{what}:\n  {list}");
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let allowed: BTreeMap<_, BTreeSet<&str>> =
        ARROWS.iter().map(|(name, to)| (*name, to.iter().copied().collect())).collect();
    let mut offences = BTreeSet::new();
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(to) = allowed.get(name) else {
            offences.insert(format!("{name} has no place in the arrows"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            if dependency["kind"].is_null() && used.starts_with("swarmnet") && !to.contains(used) {
                offences.insert(format!("{name} uses {used}"));
            }
        }
    }
    assert_none("dependencies against the arrows", &offences);
}

#[test]
fn pure_files_have_no_io_clock_or_async() {
    let mut offences = BTreeSet::new();
    let mut pure = 0;
    for (path, text) in sources() {
        if !text.starts_with("//! Pure:") {
            continue;
        }
        pure += 1;
        for line in code_lines(product_code(&text)) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                offences.insert(format!("{path}: {word} in {}", line.trim()));
            }
        }
    }
    assert!(pure > 30, "only {pure} pure files found: is the marker still `//! Pure:`?");
    assert_none("impure lines in pure files", &offences);
}

#[test]
fn planners_are_marked_pure() {
    let planner = |path: &str| path.ends_with("/plan.rs") || path.ends_with("/desired.rs");
    let offences = sources()
        .into_iter()
        .filter(|(path, text)| planner(path) && !text.starts_with("//! Pure:"))
        .map(|(path, _)| path)
        .collect();
    assert_none("planners without the mark", &offences);
}

#[test]
fn each_third_party_crate_has_its_home() {
    let mut offences = BTreeSet::new();
    for (path, text) in sources() {
        for (name, homes) in HOMES {
            let at_home = homes.iter().any(|home| path.starts_with(home));
            let used = code_lines(&text).any(|line| {
                line.contains(&format!("use {name}::")) || line.contains(&format!(" {name}::"))
            });
            if used && !at_home && !path.starts_with("tests/tidy") {
                offences.insert(format!("{path} names {name}"));
            }
        }
    }
    assert_none("third-party crates outside their home", &offences);
}

#[test]
fn files_are_small() {
    let offences = sources()
        .into_iter()
        .filter(|(path, _)| !path.contains("/tests/") && !path.contains("_tests.rs"))
        .map(|(path, text)| (path, product_code(&text).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{path} has {lines} lines"))
        .collect();
    assert_none("files over the limit", &offences);
}

#[test]
fn no_file_is_left_out_of_the_build() {
    let all = sources();
    let mut offences = BTreeSet::new();
    for (path, _) in all.iter().filter(|(path, _)| path.ends_with(".rs") && path.contains("/src/"))
    {
        let stem = Path::new(path).file_stem().unwrap().to_str().unwrap();
        let folder = Path::new(path).parent().unwrap();
        if matches!(stem, "lib" | "main") || folder.ends_with("bin") {
            continue;
        }
        let (module, parent) = match stem {
            "mod" => (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap()),
            _ => (stem, folder),
        };
        let named = all.iter().any(|(other, text)| {
            (Path::new(other).starts_with(parent)
                || Path::new(other) == parent.with_extension("rs"))
                && (text.contains(&format!("mod {module};"))
                    || text.contains(&format!("{module}.rs\"")))
        });
        if !named {
            offences.insert(path.clone());
        }
    }
    assert_none("files that no `mod` names", &offences);
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    let words = ["TODO", "FIXME", "XXX", "unimplemented!(", "todo!("];
    let mut offences = BTreeSet::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !path.ends_with("tidy.rs")) {
        for line in text.lines().filter(|line| words.iter().any(|word| line.contains(word))) {
            offences.insert(format!("{path}: {}", line.trim()));
        }
    }
    assert_none("left to do", &offences);
}

#[test]
fn the_names_of_bpf_programs_stay_in_their_crate() {
    let names = ["\"sn_from_", "\"sn_connect", "\"sn_sendmsg", "\"sn_recvmsg"];
    let offences = sources()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("ebpf/") && !path.ends_with("tidy.rs"))
        .filter(|(_, text)| names.iter().any(|name| text.contains(name)))
        .map(|(path, _)| path)
        .collect();
    assert_none("BPF program names outside ebpf", &offences);
}

#[test]
fn every_dependency_has_a_reason_in_the_architecture() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut offences = BTreeSet::new();
    for package in metadata()["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            let ours = name.starts_with("swarmnet");
            if !ours && !architecture.contains(&format!("`{name}`")) {
                offences.insert(name.to_owned());
            }
        }
    }
    assert_none("crates that ARCHITECTURE.md does not explain", &offences);
}

#[test]
fn drops_go_through_the_one_macro() {
    let mut offences = BTreeSet::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("ebpf/bpf/")) {
        for line in code_lines(&text).filter(|line| line.contains("TC_ACT_SHOT")) {
            if !line.contains("#define") && !path.ends_with("guard.h") && !path.ends_with("drop.h")
            {
                offences.insert(format!("{path}: {}", line.trim()));
            }
        }
    }
    assert_none("drops without a reason", &offences);
}
