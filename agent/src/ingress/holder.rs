//! Which program has a port, as `/proc` tells.

use std::fs;
use std::path::Path;

use swarmnet_model::Protocol;

/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Returns name and process of the program that serves a port of this host, if it can be found.
pub fn find(protocol: Protocol, port: u16) -> Option<String> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["/proc/self/net/tcp", "/proc/self/net/tcp6"],
        Protocol::Udp => &["/proc/self/net/udp", "/proc/self/net/udp6"],
        Protocol::Sctp => &[],
    };
    let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    let socket = texts.into_iter().find_map(|text| socket(&text, protocol, port))?;
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let name = process.file_name();
        let pid: u32 = name.to_str()?.parse().ok()?;
        has_socket(&process.path(), &socket).then(|| program(&process.path(), pid))
    })
}

/// Returns the socket that serves the port, as links below `/proc/<pid>/fd` name it.
fn socket(table: &str, protocol: Protocol, port: u16) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, own) = fields.get(1)?.rsplit_once(':')?;
        let serves = protocol != Protocol::Tcp || *fields.get(3)? == LISTENING;
        let inode = fields.get(9)?;
        (serves && u16::from_str_radix(own, 16) == Ok(port)).then(|| format!("socket:[{inode}]"))
    })
}

fn has_socket(process: &Path, socket: &str) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files
        .map(|file| fs::read_link(file.path()))
        .any(|to| to.is_ok_and(|to| to.as_os_str() == socket))
}

fn program(process: &Path, pid: u32) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("pid {pid}"),
        name => format!("{name} (pid {pid})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0A14140A:1F90 3214140A:C350 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0
";

    #[test]
    fn only_a_listening_socket_serves_a_tcp_port() {
        assert_eq!(socket(TABLE, Protocol::Tcp, 8080).as_deref(), Some("socket:[4711]"));
        assert_eq!(socket(TABLE, Protocol::Tcp, 81), None);
        assert_eq!(socket("", Protocol::Tcp, 80), None);
    }
}
