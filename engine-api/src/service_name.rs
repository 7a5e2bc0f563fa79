//! Names for services whose user gave none: `adjective_surname`, as Docker makes them.

const ADJECTIVES: [&str; 32] = [
    "able", "brave", "bright", "calm", "clever", "cosmic", "daring", "eager", "early", "fair",
    "fluent", "gentle", "glad", "golden", "happy", "honest", "keen", "kind", "lively", "lucid",
    "mellow", "modest", "noble", "patient", "polite", "quick", "quiet", "sharp", "steady", "swift",
    "vivid", "wise",
];

const SURNAMES: [&str; 32] = [
    "abel",
    "bell",
    "bernoulli",
    "bohr",
    "boole",
    "cantor",
    "cauchy",
    "chen",
    "curie",
    "dirac",
    "euler",
    "fermi",
    "fourier",
    "galois",
    "gauss",
    "germain",
    "hertz",
    "hilbert",
    "jacobi",
    "kepler",
    "lamarr",
    "laplace",
    "liskov",
    "lovelace",
    "maxwell",
    "meitner",
    "newton",
    "noether",
    "pascal",
    "planck",
    "ramanujan",
    "turing",
];

/// Returns a name that `taken` does not know.
pub(crate) fn generate(taken: impl Fn(&str) -> bool) -> String {
    let start: u32 = rand::random();
    (0..)
        .map(|attempt: u32| name(start.wrapping_add(attempt), attempt))
        .find(|candidate| !taken(candidate))
        .expect("the names have no end")
}

/// The first lap through all pairs has no number, later ones have.
fn name(seed: u32, attempt: u32) -> String {
    let pick = |words: &[&'static str; 32], bits: u32| words[(bits % 32) as usize];
    let pair = format!("{}_{}", pick(&ADJECTIVES, seed), pick(&SURNAMES, seed / 32));
    match attempt / 1024 {
        0 => pair,
        lap => format!("{pair}{lap}"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_always_found_and_valid() {
        let taken = RefCell::new(BTreeSet::new());
        for _ in 0..3000 {
            let name = generate(|candidate| taken.borrow().contains(candidate));
            swarmnet_model::name::check_dns_name(&name).unwrap();
            assert!(taken.borrow_mut().insert(name));
        }
    }
}
