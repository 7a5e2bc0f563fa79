//! Whether the host protects what it receives by IPsec policies of its administrator.

use std::io;

use nix::errno::Errno;
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_XFRM;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// What a question and its answer begin with: flags, of no meaning.
const FLAGS: usize = 4;
/// `struct nlattr`.
const ATTRIBUTE: usize = 4;
const XFRM_MSG_NEWSPDINFO: u16 = 0x24;
const XFRM_MSG_GETSPDINFO: u16 = 0x25;
const XFRMA_SPD_INFO: u16 = 1;
const NLM_F_REQUEST: u16 = 1;

/// Returns how many policies for incoming packets the caller's network namespace has; none if the
/// kernel knows no IPsec.
///
/// # Errors
/// The kernel refused, or its answer is not understood.
pub fn inbound_policies() -> io::Result<u32> {
    let socket = match Socket::new(NETLINK_XFRM) {
        Err(error) if error.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32) => return Ok(0),
        other => other?,
    };
    // The kernel has answered when the call that asks returns.
    socket.set_non_blocking(true)?;
    socket.send(&question(), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    inbound(&answer).ok_or_else(|| io::Error::other("the kernel's policies are not understood"))
}

fn question() -> Vec<u8> {
    let length = u32::try_from(HEADER + FLAGS).expect("20 fits");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(XFRM_MSG_GETSPDINFO.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8 + FLAGS]);
    bytes
}

/// The first number of `struct xfrmu_spdinfo`, which is the answer's first attribute.
fn inbound(answer: &[u8]) -> Option<u32> {
    let short = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let attribute = HEADER + FLAGS;
    let is_info = short(4)? == XFRM_MSG_NEWSPDINFO && short(attribute + 2)? == XFRMA_SPD_INFO;
    if is_info { word(attribute + ATTRIBUTE) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_behind_the_heads() {
        let mut answer = vec![0; 48];
        answer[4..6].copy_from_slice(&XFRM_MSG_NEWSPDINFO.to_ne_bytes());
        answer[20..22].copy_from_slice(&28_u16.to_ne_bytes());
        answer[22..24].copy_from_slice(&XFRMA_SPD_INFO.to_ne_bytes());
        answer[24..28].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(inbound(&answer), Some(3));
    }

    #[test]
    fn an_error_and_a_short_answer_are_no_number() {
        let mut refused = vec![0; 36];
        refused[4] = 2;
        assert_eq!(inbound(&refused), None);
        assert_eq!(inbound(&[]), None);
    }
}
