//! Random ids from the operating system's generator: the only randomness of the manager.

use rand::TryRng;
use rand::rngs::SysRng;
use swarmnet_model::IdSource;

/// The real id source.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsIds;

impl IdSource for OsIds {
    fn bits(&mut self) -> u128 {
        let mut bytes = [0; 16];
        SysRng.try_fill_bytes(&mut bytes).expect("the kernel's generator never fails once booted");
        u128::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        assert_ne!(OsIds.bits(), OsIds.bits());
    }
}
