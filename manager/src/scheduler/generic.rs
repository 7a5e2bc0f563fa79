//! Pure: generic resources of a node: what is taken, and which ones a further task would get.

use std::collections::BTreeMap;

use swarmnet_model::GenericResource;

/// What the tasks of one node hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    discrete: BTreeMap<String, i64>,
    /// (kind, name) and how many tasks hold it: more than one only after a node came with fewer.
    named: BTreeMap<(String, String), usize>,
}

impl Held {
    pub(super) fn add(&mut self, held: &[GenericResource]) {
        for resource in held {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    let sum = self.discrete.entry(kind.clone()).or_default();
                    *sum = sum.saturating_add(*value);
                }
                GenericResource::Named { kind, value } => {
                    *self.named.entry((kind.clone(), value.clone())).or_default() += 1;
                }
            }
        }
    }

    pub(super) fn remove(&mut self, held: &[GenericResource]) {
        for resource in held {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    if let Some(sum) = self.discrete.get_mut(kind) {
                        *sum = sum.saturating_sub(*value);
                    }
                }
                GenericResource::Named { kind, value } => {
                    let key = (kind.clone(), value.clone());
                    let left = self.named.get(&key).map_or(0, |count| count.saturating_sub(1));
                    if left == 0 {
                        self.named.remove(&key);
                    } else {
                        self.named.insert(key, left);
                    }
                }
            }
        }
    }

    fn has_name(&self, kind: &str, name: &str) -> bool {
        self.named.contains_key(&(kind.to_owned(), name.to_owned()))
    }
}

/// Returns what a task that wants `wanted` would get of a node that has `has`; `None` if too little
/// is left. Names are given in their order, so that every leader chooses the same.
pub(super) fn choose(
    wanted: &[GenericResource],
    has: &[GenericResource],
    held: &Held,
) -> Option<Vec<GenericResource>> {
    let mut held = held.clone();
    let mut chosen = Vec::new();
    for wish in wanted {
        let given = match wish {
            GenericResource::Named { kind, value } => {
                let free = has.contains(wish) && !held.has_name(kind, value);
                free.then(|| vec![wish.clone()])?
            }
            GenericResource::Discrete { kind, value } => some_of(kind, *value, has, &held)?,
        };
        held.add(&given);
        chosen.extend(given);
    }
    Some(chosen)
}

/// Takes `count` of a kind: by name where the node names them, else as a number.
fn some_of(
    kind: &str,
    count: i64,
    has: &[GenericResource],
    held: &Held,
) -> Option<Vec<GenericResource>> {
    let mut total: i64 = 0;
    let mut names = Vec::new();
    for resource in has.iter().filter(|resource| resource.kind() == kind) {
        match resource {
            GenericResource::Discrete { value, .. } => total = total.saturating_add(*value),
            GenericResource::Named { value, .. } => names.push(value),
        }
    }
    let wanted = usize::try_from(count).unwrap_or(0);
    if names.is_empty() {
        let used = held.discrete.get(kind).copied().unwrap_or_default();
        let fits = used.saturating_add(count.max(0)) <= total;
        let given = GenericResource::Discrete { kind: kind.to_owned(), value: count };
        return fits.then(|| if wanted == 0 { Vec::new() } else { vec![given] });
    }
    names.sort();
    let free = names.into_iter().filter(|name| !held.has_name(kind, name));
    let given: Vec<_> = free
        .take(wanted)
        .map(|name| GenericResource::Named { kind: kind.to_owned(), value: name.clone() })
        .collect();
    (given.len() == wanted).then_some(given)
}
