//! Pure: which VXLAN network identifier a new network gets.

use std::collections::BTreeSet;

use swarmnet_model::Vni;

/// Returns the VNI after the highest automatic one in use, else the lowest free one.
///
/// `used` holds those of networks that are being removed as well: nodes may still be taking them
/// apart. `None` when all are in use.
pub fn next(used: &BTreeSet<Vni>) -> Option<Vni> {
    let automatic = |vni: &&Vni| vni.get() >= Vni::FIRST_AUTOMATIC;
    let after =
        used.iter().rev().find(automatic).map_or(Vni::FIRST_AUTOMATIC, |highest| highest.get() + 1);
    Vni::new(after).or_else(|| {
        (Vni::FIRST_AUTOMATIC..=Vni::MAX).filter_map(Vni::new).find(|vni| !used.contains(vni))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(values: &[u32]) -> BTreeSet<Vni> {
        values.iter().map(|value| Vni::new(*value).unwrap()).collect()
    }

    #[test]
    fn the_first_automatic_vni_is_4096() {
        assert_eq!(next(&used(&[])), Vni::new(4096));
        assert_eq!(next(&used(&[17])), Vni::new(4096), "named by a user, below the range");
    }

    #[test]
    fn a_gap_is_filled_only_when_the_end_is_reached() {
        assert_eq!(next(&used(&[4096, 4098])), Vni::new(4099));
        assert_eq!(next(&used(&[4096, Vni::MAX])), Vni::new(4097));
    }
}
