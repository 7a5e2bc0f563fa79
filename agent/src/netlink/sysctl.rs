//! Kernel settings below `/proc/sys/net`, of the namespace of the calling thread.

use std::collections::BTreeSet;
use std::io::{self, Read};

/// Bytes of the longest list of reserved ports: every second port, with its comma.
const RESERVED_MAX: usize = 256 * 1024;

/// Lets the host forward packets of tasks.
///
/// # Errors
/// `/proc/sys` cannot be written.
pub fn ensure_forwarding() -> io::Result<bool> {
    ensure("net/ipv4/ip_forward", "1")
}

/// True if the host forwards packets.
///
/// # Errors
/// `/proc/sys` cannot be read.
pub fn is_forwarding() -> io::Result<bool> {
    Ok(read("net/ipv4/ip_forward")? == "1")
}

/// Keeps IPv6 away from one of our devices: its noise would only be dropped.
///
/// # Errors
/// `/proc/sys` cannot be written; a kernel without IPv6 is not an error.
pub fn disable_ipv6(device: &str) -> io::Result<bool> {
    match ensure(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    }
}

/// Returns the ports that the kernel does not use for outgoing connections.
///
/// # Errors
/// `/proc/sys` cannot be read.
pub fn reserved_ports() -> io::Result<BTreeSet<u16>> {
    Ok(parse_ports(&read_at_once("net/ipv4/ip_local_reserved_ports", RESERVED_MAX)?))
}

/// Replaces the ports that the kernel does not use for outgoing connections.
///
/// # Errors
/// `/proc/sys` cannot be written.
pub fn set_reserved_ports(ports: &BTreeSet<u16>) -> io::Result<()> {
    write("net/ipv4/ip_local_reserved_ports", &render_ports(ports))
}

fn ensure(key: &str, value: &str) -> io::Result<bool> {
    if read(key)? == value {
        return Ok(false);
    }
    write(key, value)?;
    Ok(true)
}

/// `/proc/sys/net` shows the namespace of the reading thread, not of the process.
fn read(key: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/sys/{key}"))?.trim().to_owned())
}

/// The kernel prints a list once, as far as the buffer of the first read reaches; a second read finds
/// the end. The library's own way of reading a file begins with a few bytes.
fn read_at_once(key: &str, bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    let length = std::fs::File::open(format!("/proc/sys/{key}"))?.read(&mut buffer)?;
    buffer.truncate(length);
    String::from_utf8(buffer).map_err(io::Error::other)
}

fn write(key: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/{key}"), format!("{value}\n"))
}

fn parse_ports(text: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse::<u16>()) {
            ports.extend(first..=last);
        }
    }
    ports
}

fn render_ports(ports: &BTreeSet<u16>) -> String {
    let texts: Vec<_> = ports.iter().map(ToString::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lists_survive_reading_and_writing() {
        let ports = parse_ports("80,30000-30002,32767\n");
        assert_eq!(render_ports(&ports), "80,30000,30001,30002,32767");
        assert_eq!(parse_ports(&render_ports(&ports)), ports);
        assert!(parse_ports("").is_empty());
    }
}
