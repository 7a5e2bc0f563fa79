//! Pure: the Maglev table of a published service, the same on every node.
//!
//! Input is the set of active tasks; everything comes from a 128-bit hash of the task id, never
//! from node-local numbers, so all entry nodes send a client to the same task without talking to
//! each other. Mixed versions must agree: a golden test fixes hash, order and table.

use swarmnet_model::TaskId;

/// Table sizes: primes of at least 100 entries per backend, up to what a slot range can count.
const SIZES: [(usize, u32); 4] = [(2, 251), (10, 1_021), (40, 4_093), (160, 16_381)];
/// Beyond the steps above.
const LARGEST: u32 = 65_521;

/// Returns the table as indexes into `tasks`; empty for no tasks.
pub fn table(tasks: &[&TaskId]) -> Vec<usize> {
    let Some(size) = size_for(tasks.len()) else { return Vec::new() };
    let mut turns: Vec<Turn> =
        tasks.iter().enumerate().map(|(index, task)| Turn::new(index, task, size)).collect();
    turns.sort_unstable_by_key(|turn| turn.hash);
    fill(&mut turns, size)
}

fn size_for(tasks: usize) -> Option<u32> {
    if tasks == 0 {
        return None;
    }
    Some(SIZES.iter().find(|(most, _)| tasks <= *most).map_or(LARGEST, |(_, size)| *size))
}

struct Turn {
    hash: u128,
    index: usize,
    /// Next entry this task would take.
    at: u32,
    skip: u32,
}

impl Turn {
    fn new(index: usize, task: &TaskId, size: u32) -> Self {
        let hash = hash(task.as_str());
        let (high, low) = (hash >> 64, hash & u128::from(u64::MAX));
        let within = |value: u128, size: u32| {
            u32::try_from(value % u128::from(size)).expect("a remainder of a u32 fits a u32")
        };
        Self { hash, index, at: within(high, size), skip: within(low, size - 1) + 1 }
    }
}

/// Each task in turn takes the next free entry of its own permutation.
fn fill(turns: &mut [Turn], size: u32) -> Vec<usize> {
    let mut table = vec![usize::MAX; size as usize];
    let mut left = size;
    loop {
        for turn in &mut *turns {
            if left == 0 {
                return table;
            }
            while let Some(entry) = table.get_mut(turn.at as usize) {
                turn.at = (turn.at + turn.skip) % size;
                if *entry == usize::MAX {
                    *entry = turn.index;
                    break;
                }
            }
            left -= 1;
        }
    }
}

/// FNV-1a of 128 bits, then mixed: FNV alone leaves the high bits of similar ids alike.
fn hash(text: &str) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let start = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let mut hash = text.bytes().fold(start, |hash, b| (hash ^ u128::from(b)).wrapping_mul(PRIME));
    for _ in 0..2 {
        hash ^= hash >> 67;
        hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    }
    hash ^ (hash >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    fn ids(names: &[String]) -> Vec<TaskId> {
        names.iter().map(|name| TaskId::from_text(name.clone())).collect()
    }

    fn chosen(tasks: &[TaskId]) -> Vec<TaskId> {
        let refs: Vec<_> = tasks.iter().collect();
        table(&refs).into_iter().map(|index| tasks[index].clone()).collect()
    }

    #[test]
    fn the_table_is_the_same_for_every_version() {
        let names: Vec<_> = (0..3).map(|n| format!("{n:025}")).collect();
        let tasks = ids(&names);
        let refs: Vec<_> = tasks.iter().collect();
        let table = table(&refs);
        let head: String = table.iter().take(64).map(ToString::to_string).collect();
        let sum = table.iter().enumerate().map(|(at, index)| at * (index + 1)).sum::<usize>();
        expect![[r#"
            7b302c776f152542a1f317aa392b1d98
            2212112220122100121102101022001221012210012010220002000100100000
            1021 1044761
        "#]]
        .assert_eq(&format!("{:032x}\n{head}\n{} {sum}\n", hash(&names[1]), table.len()));
    }

    #[test]
    fn no_tasks_no_table() {
        assert!(table(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_shares_are_even(
            names in prop::collection::btree_set("[a-z0-9]{25}", 1..20),
            seed in any::<u64>(),
        ) {
            let mut names: Vec<_> = names.into_iter().collect();
            let sorted = chosen(&ids(&names));
            let turn = usize::try_from(seed % names.len() as u64).unwrap();
            names.rotate_left(turn);
            prop_assert_eq!(&chosen(&ids(&names)), &sorted);
            for name in &names {
                let share = sorted.iter().filter(|task| task.as_str() == name).count();
                let fair = sorted.len() / names.len();
                prop_assert!(share == fair || share == fair + 1, "{share} of {fair}");
            }
        }
    }

    /// Single sets can be unlucky (two tasks with nearly the same permutation), so the mean counts.
    #[test]
    fn losing_one_task_moves_few_others() {
        let (mut moved, mut kept) = (0, 0);
        for set in 0..40 {
            let names: Vec<_> = (0..4 + set % 6).map(|n| format!("{set:012}{n:013}")).collect();
            let (all, fewer) = (chosen(&ids(&names)), chosen(&ids(&names[1..])));
            let pairs = all.iter().zip(&fewer).filter(|(before, _)| before.as_str() != names[0]);
            for (before, after) in pairs {
                if before == after { kept += 1 } else { moved += 1 }
            }
        }
        assert!(moved * 10 < kept + moved, "{moved} of {} clients change the task", kept + moved);
    }
}
