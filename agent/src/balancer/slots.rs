//! Pure: which range of slots a service gets.
//!
//! Ranges have a power of two of slots and start at a multiple of it, so that they never fragment
//! below their size. A range that a service has left rests before it is given again: a program that
//! read the old range may still be running.

/// Slots in the map `slots`.
pub const SLOTS: u32 = 1 << 20;

/// A range: first slot and number of slots.
pub type Range = (u32, u32);

/// Returns the first slot of a free range for `count` entries; `None` if there is no room.
///
/// `taken` are the ranges in use or resting, in any order; an empty range takes no room.
pub fn free_range(count: u32, taken: &[Range]) -> Option<u32> {
    let size = count.max(1).checked_next_power_of_two()?;
    let mut taken: Vec<_> = taken.iter().filter(|range| range.1 > 0).copied().collect();
    taken.sort_unstable();
    let mut base = 0_u32;
    for (first, length) in taken {
        let end = first.saturating_add(length.next_power_of_two());
        if base + size <= first {
            break;
        }
        if end > base {
            base = end.checked_next_multiple_of(size)?;
        }
    }
    (base.checked_add(size)? <= SLOTS).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn overlap(a: Range, b: Range) -> bool {
        a.0 < b.0 + b.1 && b.0 < a.0 + a.1
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_lie_inside(counts in prop::collection::vec(1_u32..5_000, 1..80)) {
            let mut taken: Vec<Range> = Vec::new();
            for count in counts {
                let Some(base) = free_range(count, &taken) else { continue };
                let range = (base, count);
                prop_assert!(base + count.next_power_of_two() <= SLOTS);
                prop_assert!(taken.iter().all(|other| !overlap(*other, range)));
                taken.push(range);
            }
        }

        #[test]
        fn a_freed_range_can_be_given_again(keep in 0_usize..8, count in 1_u32..300) {
            let mut taken: Vec<Range> = Vec::new();
            for _ in 0..8 {
                let base = free_range(count, &taken).unwrap();
                taken.push((base, count));
            }
            let freed = taken.remove(keep);
            prop_assert_eq!(free_range(count, &taken), Some(freed.0));
        }
    }

    #[test]
    fn a_full_map_is_an_answer() {
        assert_eq!(free_range(1, &[(0, SLOTS)]), None);
        assert_eq!(free_range(SLOTS + 1, &[]), None);
        assert_eq!(free_range(SLOTS, &[]), Some(0));
    }
}
