//! Runs single programs over frames (`BPF_PROG_TEST_RUN`), for tests of the data plane.
//!
//! Only with [`crate::program::Options::test`]: such programs take the device and the tunnel key
//! from map `test_in` and write what they would have done to map `test_out`.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::PoisonError;

use crate::abi::{Plain, TestIn, TestOut};
use crate::program::{Dataplane, Hook};
use crate::sys;

/// What a program did with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `TC_ACT_*`: 0 or -1 pass, 2 drop, 7 redirect.
    pub verdict: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// The redirect.
    pub out: TestOut,
    /// Mean duration of one run.
    pub duration_ns: u32,
}

impl Dataplane {
    /// Runs a hook's program `repeat` times over a frame.
    ///
    /// # Errors
    /// The program is missing, or the kernel refused the run.
    pub fn test_run(
        &self,
        hook: Hook,
        input: TestIn,
        frame: &[u8],
        repeat: u32,
    ) -> io::Result<Outcome> {
        let program = self.programs.get(hook.program()).ok_or(io::ErrorKind::NotFound)?;
        let key = 0_u32.to_bytes();
        self.with_map("test_in", |map| sys::map_update(map, &key, &input.to_bytes()))?;
        self.with_map("test_out", |map| {
            sys::map_update(map, &key, &TestOut::default().to_bytes())
        })?;
        let run = sys::test_run(program.as_fd(), frame, repeat)?;
        let mut out = vec![0; size_of::<TestOut>()];
        self.with_map("test_out", |map| sys::map_lookup(map, &key, &mut out))?;
        let out = TestOut::from_bytes(&out).unwrap_or_default();
        Ok(Outcome { verdict: run.retval, frame: run.data, out, duration_ns: run.duration_ns })
    }

    fn with_map<T>(
        &self,
        name: &str,
        use_it: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        match ebpf.map(name) {
            Some(aya::maps::Map::Array(data)) => use_it(data.fd().as_fd()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
