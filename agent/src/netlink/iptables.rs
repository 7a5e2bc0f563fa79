//! Two accepts in the engine's own user chain, where it has one.
//!
//! The engine sets the FORWARD policy to DROP, and an accept in a table of ours cannot undo a drop
//! in another one. `DOCKER-USER` is the place Docker keeps for such rules; the operator's own come
//! first there. The iptables program writes them, since rules written by nft make it refuse to list
//! the chain.

use super::nft::{FirewallError, run};

const CHAIN: &str = "DOCKER-USER";

/// Out of a task, and back to it; as `iptables -S` prints them.
const RULES: [&str; 2] =
    ["-i swg+ -j ACCEPT", "-o swg+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"];

/// Adds the missing ones of our rules; returns how many. Without the chain there is nothing to do.
///
/// # Errors
/// `FirewallError`.
pub async fn ensure_accepts() -> Result<usize, FirewallError> {
    let Some(listing) = listing().await? else { return Ok(0) };
    let (missing, place) = (missing(&listing), place(&listing).to_string());
    for rule in &missing {
        change(&["-I", CHAIN, &place], rule).await?;
    }
    Ok(missing.len())
}

/// Removes our rules.
///
/// # Errors
/// `FirewallError`.
pub async fn remove_accepts() -> Result<(), FirewallError> {
    let Some(listing) = listing().await? else { return Ok(()) };
    let gone = missing(&listing);
    for rule in RULES.iter().filter(|rule| !gone.contains(rule)) {
        change(&["-D", CHAIN], rule).await?;
    }
    Ok(())
}

/// `None` without the chain, or without iptables: then no engine has made the chain with it.
async fn listing() -> Result<Option<String>, FirewallError> {
    match run("iptables", &["-w", "2", "-S", CHAIN], "").await {
        Ok(text) => Ok(Some(text)),
        Err(FirewallError::Refused { .. } | FirewallError::Start { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn change(verb: &[&str], rule: &str) -> Result<(), FirewallError> {
    let arguments: Vec<_> =
        ["-w", "2"].iter().chain(verb).copied().chain(rule.split(' ')).collect();
    run("iptables", &arguments, "").await?;
    Ok(())
}

/// Returns the number our rules get: behind the operator's, before the engine's "go on".
fn place(listing: &str) -> usize {
    let mut rules = listing.lines().filter(|line| line.starts_with("-A"));
    let last = rules.clone().count() + 1;
    let go_on = format!("-A {CHAIN} -j RETURN");
    rules.position(|rule| rule == go_on).map_or(last, |index| index + 1)
}

fn missing(listing: &str) -> Vec<&'static str> {
    let there = |rule: &str| listing.lines().any(|line| line == format!("-A {CHAIN} {rule}"));
    RULES.iter().copied().filter(|rule| !there(rule)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_rules_come_first() {
        let drop = "-A DOCKER-USER -d 10.0.0.0/8 -j DROP\n";
        assert_eq!(place("-N DOCKER-USER\n"), 1);
        assert_eq!(place("-N DOCKER-USER\n-A DOCKER-USER -j RETURN\n"), 1);
        assert_eq!(place(&format!("-N DOCKER-USER\n{drop}-A DOCKER-USER -j RETURN\n")), 2);
        assert_eq!(place(&format!("-N DOCKER-USER\n{drop}")), 2);
    }

    #[test]
    fn only_missing_rules_are_added() {
        assert_eq!(missing("-N DOCKER-USER\n-A DOCKER-USER -j RETURN\n"), RULES);
        let with_one = "-N DOCKER-USER\n-A DOCKER-USER -i swg+ -j ACCEPT\n";
        assert_eq!(missing(with_one), &RULES[1..]);
    }
}
