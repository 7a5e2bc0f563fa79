//! Raw Ethernet frames: how they are built, and how they are sent from a task's own network.
//!
//! A task's container has no tool for that, so this program starts itself again inside the task's
//! network namespace: `cluster send-frames DEVICE COPIES HEX`.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};

use crate::lab::{Lab, Ran};

/// First word on the command line of the sender.
pub(crate) const VERB: &str = "send-frames";

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;

/// What a listener must never hear.
pub(crate) const ROGUE: &str = "rogue";

pub(crate) type Mac = [u8; 6];

pub(crate) const BROADCAST: Mac = [0xff; 6];

/// MAC of a task.
pub(crate) fn mac_of(addr: Ipv4Addr) -> Mac {
    let [a, b, c, d] = addr.octets();
    [2, 0x42, a, b, c, d]
}

/// The sender: `DEVICE COPIES HEX`.
pub(crate) fn send_all(words: &[String]) -> ExitCode {
    let [device, copies, hex] = words else { panic!("usage: {VERB} DEVICE COPIES HEX") };
    let bytes = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let frame: Vec<u8> = (0..hex.len()).step_by(2).map(bytes).collect();
    let family = AddressFamily::Packet;
    let socket = socket(family, SockType::Raw, SockFlag::empty(), None).unwrap();
    let addresses = getifaddrs().unwrap().filter(|found| found.interface_name == *device);
    let links = addresses.filter_map(|found| found.address?.as_link_addr().copied());
    let link = links.last().unwrap_or_else(|| panic!("no device {device}"));
    bind(socket.as_raw_fd(), &link).unwrap();
    for _ in 0..copies.parse().unwrap() {
        send(socket.as_raw_fd(), &frame, MsgFlags::empty()).unwrap();
    }
    ExitCode::SUCCESS
}

/// Sends copies of a frame out of a device of a service's task.
pub(crate) fn send_from(lab: &Lab, host: &str, service: &str, device: &str, frame: &[u8]) {
    let own = std::env::current_exe().unwrap();
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let copies = COPIES.to_string();
    let words = [own.to_str().unwrap(), VERB, device, &copies, &hex];
    let ran: Ran = lab.beside(host, service, &words);
    assert!(ran.ok(), "sending a frame: {}", ran.text());
}

/// More than the normal noise of a task in the time of one check.
pub(crate) const COPIES: u64 = 25;

pub(crate) fn ethernet(dst: Mac, src: Mac, ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [&dst[..], &src, &ethertype.to_be_bytes(), body].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

/// A datagram with a valid header, and "rogue" in it.
pub(crate) fn udp(src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16)) -> Vec<u8> {
    let length = 8 + u16::try_from(ROGUE.len()).unwrap();
    let datagram = [
        &ports.0.to_be_bytes()[..],
        &ports.1.to_be_bytes(),
        &length.to_be_bytes(),
        &[0, 0],
        ROGUE.as_bytes(),
    ];
    let mut header = vec![0x45, 0];
    header.extend((20 + length).to_be_bytes());
    header.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    header.extend(src.octets().into_iter().chain(dst.octets()));
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    [&header[..], &datagram.concat()].concat()
}

/// ARP: 1 asks, 2 answers.
pub(crate) fn arp(op: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, op];
    let (sha, spa) = sender;
    let (tha, tpa) = target;
    [&head[..], &sha, &spa.octets(), &tha, &tpa.octets()].concat()
}

/// An IPv6 router advertisement of fd00:bad::/64 to all nodes, with a valid checksum.
pub(crate) fn router_advertisement() -> Vec<u8> {
    let src = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbd];
    let dst = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut body = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend([3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    body.extend([0xfd, 0, 0x0b, 0xad, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(body.len()).unwrap();
    let pseudo = [&src[..], &dst, &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 58], &body].concat();
    let sum = checksum(&pseudo).to_be_bytes();
    body[2..4].copy_from_slice(&sum);
    let header = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[58, 255], &src, &dst];
    [&header.concat()[..], &body].concat()
}
