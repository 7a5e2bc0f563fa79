//! What the allocator of this process is told at the start.

use std::ffi::c_int;

/// `M_MXFAST` of `<malloc.h>`.
#[cfg(target_env = "gnu")]
const MXFAST: c_int = 1;

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a declaration; the call takes two numbers")]
unsafe extern "C" {
    safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

/// Tells glibc to keep no lists of small free blocks beside those of each thread: it goes through all
/// of them with every large request, which among ten thousand services was most of what one change
/// cost. Other C libraries have no such lists.
pub fn prepare() {
    #[cfg(target_env = "gnu")]
    if mallopt(MXFAST, 0) == 0 {
        tracing::warn!("glibc refuses to do without fastbins: changes of large views are slower");
    }
}
