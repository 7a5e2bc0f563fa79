//! Runs single programs over frames (`BPF_PROG_TEST_RUN`), for tests of the data plane.
//!
//! Only with [`crate::program::Options::test`]: such programs take the device and the tunnel key
//! from map `test_in` and write what they would have done to map `test_out`.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::PoisonError;

use crate::abi::{Plain, TestIn, TestOut};
use crate::program::{Dataplane, Hook};
use crate::sys::{self, TestMode};

/// A frame as a program meets it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrival {
    /// Bytes from the Ethernet header on, at least 14.
    pub frame: Vec<u8>,
    /// Device and tunnel key.
    pub input: TestIn,
    /// Length of the segments the frame is a train of; 0 for a single packet.
    pub gso_size: u32,
}

/// What a program did with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `TC_ACT_*`: 0 or -1 pass, 2 drop, 7 redirect.
    pub verdict: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// The redirect, and the drop reasons that were counted.
    pub out: TestOut,
}

/// How large a program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Name in the object.
    pub name: String,
    /// Instructions that the verifier walked; 0 on kernels before 5.16.
    pub checked: u32,
    /// Bytes of BPF.
    pub bytes: u32,
}

/// One program, ready to be run many times.
#[derive(Debug)]
pub struct Runner<'a> {
    program: BorrowedFd<'a>,
    test_in: std::os::fd::OwnedFd,
    test_out: std::os::fd::OwnedFd,
    checksum_complete: bool,
}

impl Dataplane {
    /// Prepares a hook's program for runs. `checksum_complete`: frames come with the sum of the
    /// whole packet, as from some NICs, and a program that leaves it wrong fails (Linux 6.15).
    ///
    /// # Errors
    /// The object misses the program or was loaded without [`crate::program::Options::test`].
    pub fn runner(&self, hook: Hook, checksum_complete: bool) -> io::Result<Runner<'_>> {
        let program = self.programs.get(hook.program()).ok_or(io::ErrorKind::NotFound)?.as_fd();
        let (test_in, test_out) = (self.array("test_in")?, self.array("test_out")?);
        Ok(Runner { program, test_in, test_out, checksum_complete })
    }

    /// Returns how large the programs are.
    ///
    /// # Errors
    /// The kernel does not describe a program.
    pub fn costs(&self) -> io::Result<Vec<Cost>> {
        let cost = |(name, program): (&String, &std::os::fd::OwnedFd)| {
            let info = sys::prog_fd_info(program.as_fd())?;
            Ok(Cost { name: name.clone(), checked: info.verified_insns, bytes: info.xlated_len })
        };
        self.programs.iter().map(cost).collect()
    }

    fn array(&self, name: &str) -> io::Result<std::os::fd::OwnedFd> {
        let ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        match ebpf.map(name) {
            Some(aya::maps::Map::Array(data)) => data.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Runner<'_> {
    /// Runs the program once.
    ///
    /// # Errors
    /// The kernel refused the run, or the packet's sum is wrong afterwards.
    pub fn run(&self, arrival: &Arrival) -> io::Result<Outcome> {
        let key = 0_u32.as_bytes();
        sys::map_update(self.test_in.as_fd(), key, arrival.input.as_bytes())?;
        sys::map_update(self.test_out.as_fd(), key, TestOut::default().as_bytes())?;
        let mode = TestMode {
            repeat: 1,
            gso_size: arrival.gso_size,
            checksum_complete: self.checksum_complete,
        };
        let run = sys::test_run(self.program, &arrival.frame, mode)?;
        let mut out = vec![0; size_of::<TestOut>()];
        sys::map_lookup(self.test_out.as_fd(), key, &mut out)?;
        let out = TestOut::from_bytes(&out).unwrap_or_default();
        Ok(Outcome { verdict: run.retval, frame: run.data, out })
    }

    /// Returns the mean duration of a run in nanoseconds. The program meets its own output again,
    /// so `arrival` should be a frame that it does not change but for its MACs.
    ///
    /// # Errors
    /// The kernel refused the run.
    pub fn duration_ns(&self, arrival: &Arrival, repeat: u32) -> io::Result<u32> {
        sys::map_update(self.test_in.as_fd(), 0_u32.as_bytes(), arrival.input.as_bytes())?;
        let mode = TestMode { repeat, ..TestMode::default() };
        Ok(sys::test_run(self.program, &arrival.frame, mode)?.duration_ns)
    }
}
