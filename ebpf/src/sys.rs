//! The bpf(2) calls aya does not offer: map batches, links that outlive us, test runs.
//!
//! All unsafe code of the loader that talks to the kernel is here.

#![expect(unsafe_code, reason = "bpf(2) and mmap(2) take raw pointers")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const MAP_DELETE: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`, Linux 6.15.
const TEST_RUN_CHECKSUM_COMPLETE: u32 = 4;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO: u32 = 15;
const MAP_LOOKUP_BATCH: u32 = 24;
const MAP_UPDATE_BATCH: u32 = 26;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;

/// BPF_F_BEFORE without a relative program: first position.
pub(crate) const LINK_FIRST: u32 = 1 << 3;
/// BPF_LINK_TYPE_TCX.
pub(crate) const LINK_TCX: u32 = 11;
/// BPF_TCX_INGRESS.
pub(crate) const TCX_INGRESS: u32 = 46;

#[repr(C)]
#[derive(Default)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ObjAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ObjGetAttr {
    id: u32,
    next_id: u32,
    flags: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestAttr {
    prog_fd: u32,
    retval: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// What the kernel says about a map.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// What the kernel says about a link.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) prog_id: u32,
    pad: u32,
    /// tcx: the interface index, 0 if the device is gone. cgroup: low half of the cgroup id.
    pub(crate) target: u32,
    target_high: u32,
}

impl LinkInfo {
    /// The cgroup id of a cgroup link.
    pub(crate) fn cgroup_id(&self) -> u64 {
        u64::from(self.target) | (u64::from(self.target_high) << 32)
    }
}

/// What the kernel says about a program.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProgInfo {
    kind: u32,
    pub(crate) id: u32,
    tag: u64,
    jited_len: u32,
    /// Bytes of BPF.
    pub(crate) xlated_len: u32,
    before_name: [u64; 5],
    name: [u8; 16],
    after_name: [u64; 17],
    /// Instructions that the verifier walked (Linux 5.16, else 0).
    pub(crate) verified_insns: u32,
    pad: u32,
}

impl ProgInfo {
    /// Name as given at load, at most 15 characters.
    pub(crate) fn name(&self) -> String {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }
}

fn addr(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

fn addr_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr() as u64
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf<T>(cmd: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: every attr type above is repr(C), has no padding, is a prefix of union bpf_attr
    // for its command, and its pointers are valid for the length the kernel reads or writes.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, cmd, std::ptr::from_mut(attr), size_of::<T>()) };
    i32::try_from(rc).ok().filter(|rc| *rc >= 0).ok_or_else(io::Error::last_os_error)
}

fn new_fd<T>(cmd: u32, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, attr)?;
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn path_bytes(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Reads one element; `value` must have the kernel's value size (all CPUs for per-CPU maps).
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let (key, value) = (addr(key), addr_mut(value));
    bpf(MAP_LOOKUP, &mut ElemAttr { map_fd: raw(map), key, value, ..Default::default() })?;
    Ok(())
}

/// Creates or replaces one element.
pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let (key, value) = (addr(key), addr(value));
    bpf(MAP_UPDATE, &mut ElemAttr { map_fd: raw(map), key, value, ..Default::default() })?;
    Ok(())
}

/// Removes one element.
pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    bpf(MAP_DELETE, &mut ElemAttr { map_fd: raw(map), key: addr(key), ..Default::default() })?;
    Ok(())
}

/// Writes the key after `key` (the first one for `None`) into `next`.
pub(crate) fn map_next_key(
    map: BorrowedFd<'_>,
    key: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<()> {
    let (key, value) = (key.map_or(0, addr), addr_mut(next));
    bpf(MAP_GET_NEXT_KEY, &mut ElemAttr { map_fd: raw(map), key, value, ..Default::default() })?;
    Ok(())
}

/// Creates or replaces `count` elements; returns how many were written, and why not all.
pub(crate) fn map_update_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> (u32, io::Result<()>) {
    let mut attr = BatchAttr {
        keys: addr(keys),
        values: addr(values),
        count,
        map_fd: raw(map),
        ..Default::default()
    };
    let result = bpf(MAP_UPDATE_BATCH, &mut attr).map(drop);
    let done = if result.is_ok() { count } else { attr.count.min(count) };
    (done, result)
}

/// Reads up to `count` elements after the position `cursor` (empty: from the start).
///
/// Returns how many were read and whether that was the end; `cursor` is moved.
pub(crate) fn map_lookup_batch(
    map: BorrowedFd<'_>,
    cursor: &mut Vec<u8>,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let mut out = vec![0_u8; 256];
    let mut attr = BatchAttr {
        in_batch: if cursor.is_empty() { 0 } else { addr(cursor) },
        out_batch: addr_mut(&mut out),
        keys: addr_mut(keys),
        values: addr_mut(values),
        count,
        map_fd: raw(map),
        ..Default::default()
    };
    match bpf(MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => {
            *cursor = out;
            Ok((attr.count, false))
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count, true)),
        Err(error) => Err(error),
    }
}

/// Pins an object at a path of a bpffs.
pub(crate) fn obj_pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_bytes(path)?;
    let path = path.as_ptr() as u64;
    bpf(OBJ_PIN, &mut ObjAttr { path, fd: raw(fd), flags: 0 })?;
    Ok(())
}

/// Opens a pinned object.
pub(crate) fn obj_get(path: &Path) -> io::Result<OwnedFd> {
    let path = path_bytes(path)?;
    let path = path.as_ptr() as u64;
    new_fd(OBJ_GET, &mut ObjAttr { path, ..Default::default() })
}

fn info<T: Default>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut out = T::default();
    let len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let info = std::ptr::from_mut(&mut out) as u64;
    bpf(OBJ_GET_INFO, &mut InfoAttr { fd: raw(fd), len, info })?;
    Ok(out)
}

/// Returns what the kernel says about a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

/// Returns what the kernel says about a link.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(link)
}

/// Returns what the kernel says about the program with an id.
pub(crate) fn prog_info(id: u32) -> io::Result<ProgInfo> {
    let prog = new_fd(PROG_GET_FD_BY_ID, &mut ObjGetAttr { id, ..Default::default() })?;
    prog_fd_info(prog.as_fd())
}

/// What the kernel says about a program.
pub(crate) fn prog_fd_info(prog: BorrowedFd<'_>) -> io::Result<ProgInfo> {
    info(prog)
}

/// Attaches a program; `target` is an interface index or the descriptor of a cgroup.
pub(crate) fn link_create(
    prog: BorrowedFd<'_>,
    target: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    new_fd(
        LINK_CREATE,
        &mut LinkCreateAttr {
            prog_fd: raw(prog),
            target,
            attach_type,
            flags,
            ..Default::default()
        },
    )
}

/// Replaces the program of a link, atomically.
pub(crate) fn link_update(link: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> io::Result<()> {
    bpf(
        LINK_UPDATE,
        &mut LinkUpdateAttr { link_fd: raw(link), prog_fd: raw(prog), ..Default::default() },
    )?;
    Ok(())
}

/// Outcome of [`test_run`].
#[derive(Debug)]
pub(crate) struct TestRun {
    pub(crate) retval: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) duration_ns: u32,
}

/// Size of `__sk_buff`, and where its `gso_size` is.
const SKB_SIZE: usize = 192;
const SKB_GSO_SIZE: usize = 176;

/// How a program is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestMode {
    pub(crate) repeat: u32,
    /// Length of the segments the frame is a train of; 0 for a single packet.
    pub(crate) gso_size: u32,
    /// The sum of the whole packet comes with the frame, as from a NIC that computes it; a program
    /// that leaves it wrong makes the run fail with `EBADMSG`.
    pub(crate) checksum_complete: bool,
}

/// Runs a program over a frame.
pub(crate) fn test_run(prog: BorrowedFd<'_>, frame: &[u8], mode: TestMode) -> io::Result<TestRun> {
    let mut data = vec![0_u8; frame.len() + 256];
    let mut skb = [0_u8; SKB_SIZE];
    skb[SKB_GSO_SIZE..SKB_GSO_SIZE + 4].copy_from_slice(&mode.gso_size.to_ne_bytes());
    let size = |len: usize| u32::try_from(len).map_err(io::Error::other);
    let mut attr = TestAttr {
        prog_fd: raw(prog),
        size_in: size(frame.len())?,
        size_out: size(data.len())?,
        data_in: addr(frame),
        data_out: addr_mut(&mut data),
        ctx_in: addr(&skb),
        ctx_size_in: size(SKB_SIZE)?,
        repeat: mode.repeat,
        flags: if mode.checksum_complete { TEST_RUN_CHECKSUM_COMPLETE } else { 0 },
        ..Default::default()
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    data.truncate(attr.size_out as usize);
    Ok(TestRun { retval: attr.retval, data, duration_ns: attr.duration })
}

/// A shared mapping of an MMAPABLE array.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the mapping is plain shared memory; all access goes through the bounds-checked methods
// below, single words atomically.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes (rounded up to pages) of an array.
    pub(crate) fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(4096);
        // SAFETY: a fresh shared mapping chosen by the kernel; no memory of ours is touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), len })
    }

    fn word(&self, offset: usize) -> &std::sync::atomic::AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "offset inside the mapping");
        // SAFETY: inside the mapping and aligned (checked above); shared memory that BPF and
        // other processes write, therefore atomic.
        unsafe { &*self.start.add(offset).cast() }
    }

    /// Copies out `out.len()` bytes (a multiple of 4) at `offset`.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) {
        for (i, chunk) in out.chunks_exact_mut(4).enumerate() {
            let word = self.word(offset + 4 * i).load(std::sync::atomic::Ordering::Acquire);
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Copies in `bytes` (a multiple of 4 long) at `offset`; each 4 bytes at once.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks_exact(4).enumerate() {
            let word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
            self.word(offset + 4 * i).store(word, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Stores one aligned u64 so that all earlier writes are seen before it.
    pub(crate) fn store(&self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "offset inside the mapping");
        // SAFETY: inside the mapping and aligned (checked above).
        let target: &std::sync::atomic::AtomicU64 = unsafe { &*self.start.add(offset).cast() };
        target.store(word, std::sync::atomic::Ordering::Release);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap returned; no reference outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
