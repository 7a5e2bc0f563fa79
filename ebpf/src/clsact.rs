//! Lists and removes our clsact filters over rtnetlink, which aya cannot list.

#![expect(unsafe_code, reason = "a netlink socket and the structures of its messages")]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const TCM_INGRESS: u32 = 0xffff_fff2;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
/// nlmsghdr.
const HEADER: usize = 16;
/// tcmsg.
const TCMSG: usize = 20;

/// One clsact ingress filter that runs a BPF program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) ifindex: u32,
    pub(crate) program: String,
    pub(crate) program_id: u32,
    handle: u32,
    /// Preference and protocol, as the kernel packs them.
    info: u32,
}

/// Lists the BPF filters on the ingress side of every device of this namespace.
pub(crate) fn list() -> io::Result<Vec<Filter>> {
    let mut out = Vec::new();
    for ifindex in devices()? {
        out.extend(on_device(ifindex)?);
    }
    Ok(out)
}

/// Removes the filters of a program from a device; no error if there are none.
pub(crate) fn remove(ifindex: u32, program: &str) -> io::Result<()> {
    for filter in on_device(ifindex)?.into_iter().filter(|filter| filter.program == program) {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let tcmsg = tcmsg(ifindex, filter.handle, filter.info);
        request(libc::RTM_DELTFILTER, flags, &tcmsg, |_, _| {})?;
    }
    Ok(())
}

fn devices() -> io::Result<Vec<u32>> {
    let list = nix::net::if_::if_nameindex().map_err(io::Error::from)?;
    Ok(list.iter().map(nix::net::if_::Interface::index).collect())
}

fn on_device(ifindex: u32) -> io::Result<Vec<Filter>> {
    let mut out = Vec::new();
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let listed = request(libc::RTM_GETTFILTER, flags, &tcmsg(ifindex, 0, 0), |kind, body| {
        if kind == libc::RTM_NEWTFILTER {
            out.extend(parse(body));
        }
    });
    match listed {
        // No such device, or no clsact qdisc on it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => {
            Ok(Vec::new())
        }
        other => other.map(|()| out),
    }
}

fn tcmsg(ifindex: u32, handle: u32, info: u32) -> Vec<u8> {
    [0, ifindex, handle, TCM_INGRESS, info]
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Finds an attribute; nested flags in the type are ignored.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (len, kind) = (half(bytes, 0)? as usize, half(bytes, 2)? & 0x3fff);
        let body = bytes.get(4..len)?;
        if kind == wanted {
            return Some(body);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn parse(body: &[u8]) -> Option<Filter> {
    let attributes = body.get(TCMSG..)?;
    if text(attribute(attributes, TCA_KIND)?) != "bpf" {
        return None;
    }
    // The kernel appends ":[tag]" to nothing here: the name is what the attacher gave.
    let options = attribute(attributes, TCA_OPTIONS)?;
    Some(Filter {
        ifindex: word(body, 4)?,
        program: text(attribute(options, TCA_BPF_NAME)?),
        program_id: word(attribute(options, TCA_BPF_ID)?, 0)?,
        handle: word(body, 8)?,
        info: word(body, 16)?,
    })
}

/// Sends one request and calls `each` with type and body of every answer until the last one.
fn request(
    kind: u16,
    flags: libc::c_int,
    payload: &[u8],
    mut each: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let socket = socket()?;
    let len = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
    let flags = u16::try_from(flags).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(len as usize);
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(payload);
    nix::unistd::write(&socket, &message).map_err(io::Error::from)?;
    loop {
        let mut buffer = vec![0_u8; 65_536];
        let read = nix::unistd::read(&socket, &mut buffer).map_err(io::Error::from)?;
        if answers(&buffer[..read], &mut each)? {
            return Ok(());
        }
    }
}

/// Walks one datagram of answers; true after the last one.
fn answers(mut bytes: &[u8], each: &mut impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let (Some(len), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let Some(body) = bytes.get(HEADER..len as usize) else { break };
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let code = word(body, 0).unwrap_or_default().cast_signed();
                return match code {
                    0 => Ok(true),
                    code => Err(io::Error::from_raw_os_error(-code)),
                };
            }
            _ => each(kind, body),
        }
        bytes = bytes.get((len as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the descriptor is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let timeout = libc::timeval { tv_sec: 5, tv_usec: 0 };
    let size = libc::socklen_t::try_from(size_of::<libc::timeval>()).map_err(io::Error::other)?;
    // SAFETY: `timeout` is valid for `size` bytes during the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            std::ptr::from_ref(&timeout).cast(),
            size,
        )
    };
    if rc == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}
