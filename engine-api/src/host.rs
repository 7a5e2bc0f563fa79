//! What the machine says of itself, for the answers that must not wait for its engine.

use std::fs;
use std::thread::available_parallelism;

/// A machine's facts; empty and zero where it keeps them to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) kernel: String,
    /// As `/etc/os-release` names it for people.
    pub(crate) operating_system: String,
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: u64,
}

impl Host {
    pub(crate) fn read() -> Self {
        let line = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            name: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            operating_system: pretty_name(&text("/etc/os-release")),
            cpus: available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_total(&text("/proc/meminfo")),
        }
    }
}

fn pretty_name(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("").trim_matches(['"', '\'']).to_owned()
}

/// `MemTotal:       24684084 kB`
fn memory_total(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_the_kernels_texts() {
        assert_eq!(memory_total("MemTotal:       24684084 kB\nMemFree: 1 kB\n"), 24_684_084 << 10);
        assert_eq!(memory_total("nonsense"), 0);
        let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(release), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(pretty_name(""), "");
    }
}
