//! Faults on the switch: packets from one port to another that are dropped, all or some.
//!
//! One nftables table of the bridge family in the switch's namespace. Each rule's comment is the
//! fault it stands for, so the kernel is the only record: a change reads the faults, edits the map
//! and writes the whole table in one transaction.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use crate::command::{run, run_with_input};
use crate::spec::{Lab, SWITCH};

const TABLE: &str = "bridge faults";
/// Losses are thrown out of this many, so that a hundredth of a percent counts.
const LOSS_SCALE: u32 = 10_000;

/// What happens to packets of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut,
    /// Lost at random, in 1/10,000.
    Loss(u32),
}

/// Faults by (from, to).
pub(crate) type Faults = BTreeMap<(String, String), Fault>;

/// Which way a fault works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Both,
    OneWay,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("cut"),
            Self::Loss(share) => write!(f, "loss {}.{:02}%", share / 100, share % 100),
        }
    }
}

/// A share of packets, given in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(u32);

impl FromStr for Percent {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |digits: &str| digits.chars().all(|c| c.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || part.len() > 2 || !plain(whole) || !plain(part) {
            bail!("{text:?} is no percentage: use 0 to 100, with up to two decimals");
        }
        let share = format!("{whole}{part:0<2}").parse::<u32>()?;
        if share > LOSS_SCALE {
            bail!("{text:?} is more than 100 percent");
        }
        Ok(Self(share))
    }
}

impl Percent {
    pub(crate) fn fault(self) -> Fault {
        Fault::Loss(self.0)
    }
}

/// Puts a fault between two hosts, in place of whatever was there.
pub(crate) fn put(lab: &Lab, ends: (&str, &str), fault: Fault, way: Direction) -> Result<()> {
    let (a, b) = ends;
    if a == b {
        bail!("{a} has no link to itself");
    }
    let mut faults = observe(lab)?;
    insert(&mut faults, (a, b), fault);
    if way == Direction::Both {
        insert(&mut faults, (b, a), fault);
    }
    write(lab, &faults)
}

/// Removes all faults.
pub(crate) fn heal(lab: &Lab) -> Result<()> {
    write(lab, &Faults::new())
}

/// Reads the faults in force.
pub(crate) fn observe(lab: &Lab) -> Result<Faults> {
    let tables = nft(lab, &["list", "tables", "bridge"])?;
    if !tables.lines().any(|line| line.trim() == format!("table {TABLE}")) {
        return Ok(Faults::new());
    }
    parse(&nft(lab, &["-j", "list", "table", "bridge", "faults"])?)
}

fn insert(faults: &mut Faults, ends: (&str, &str), fault: Fault) {
    let ends = (ends.0.to_owned(), ends.1.to_owned());
    if fault == Fault::Loss(0) {
        faults.remove(&ends);
    } else {
        faults.insert(ends, fault);
    }
}

fn write(lab: &Lab, faults: &Faults) -> Result<()> {
    run_with_input("ip", &["netns", "exec", &lab.netns(SWITCH), "nft", "-f", "-"], &render(faults))
        .map(drop)
}

fn nft(lab: &Lab, args: &[&str]) -> Result<String> {
    let netns = lab.netns(SWITCH);
    run("ip", &[&["netns", "exec", &netns, "nft"], args].concat())
}

/// Returns the transaction that leaves exactly these faults.
fn render(faults: &Faults) -> String {
    // Added first so that the deletion never fails.
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\n");
    if faults.is_empty() {
        return text;
    }
    writeln!(text, "table {TABLE} {{\n chain forward {{\n  type filter hook forward priority 0;")
        .expect("a String takes all writes");
    for ((from, to), fault) in faults {
        let (share, word) = match fault {
            Fault::Cut => (String::new(), "cut".to_owned()),
            Fault::Loss(share) => {
                (format!("numgen random mod {LOSS_SCALE} < {share} "), format!("loss {share}"))
            }
        };
        writeln!(
            text,
            "  iifname \"{from}\" oifname \"{to}\" {share}counter drop comment \"{from} {to} {word}\""
        )
        .expect("a String takes all writes");
    }
    text.push_str(" }\n}\n");
    text
}

fn parse(json: &str) -> Result<Faults> {
    let listing: serde_json::Value = serde_json::from_str(json).context("reading nft's listing")?;
    let entries = listing["nftables"].as_array().context("nft's listing has no entries")?;
    let comments = entries.iter().filter_map(|entry| entry["rule"]["comment"].as_str());
    comments.map(parse_comment).collect()
}

fn parse_comment(comment: &str) -> Result<((String, String), Fault)> {
    let words: Vec<&str> = comment.split(' ').collect();
    let (from, to, fault) = match words[..] {
        [from, to, "cut"] => (from, to, Fault::Cut),
        [from, to, "loss", share] => (from, to, Fault::Loss(share.parse()?)),
        _ => bail!("table {TABLE} holds a rule that is not the lab's: {comment:?}"),
    };
    Ok(((from.to_owned(), to.to_owned()), fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_up_to_two_decimals_and_end_at_100() {
        let share = |text: &str| text.parse::<Percent>().ok().map(|percent| percent.0);
        assert_eq!(share("10"), Some(1_000));
        assert_eq!(share("0.5%"), Some(50));
        assert_eq!(share("100"), Some(10_000));
        for bad in ["", "x", "-1", "100.01", "101", "1.234", "1e1", "."] {
            assert_eq!(share(bad), None, "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_comment_of_a_rule_gives_its_fault_back() {
        let mut faults = Faults::new();
        insert(&mut faults, ("a", "b"), Fault::Cut);
        insert(&mut faults, ("b", "a"), Fault::Loss(1_250));
        let text = render(&faults);
        let comments = text.lines().filter_map(|line| line.split("comment \"").nth(1));
        let read: Result<Faults> =
            comments.map(|comment| parse_comment(comment.trim_end_matches('"'))).collect();
        assert_eq!(read.unwrap(), faults);
    }

    #[test]
    fn a_loss_of_nothing_removes_the_fault() {
        let mut faults = Faults::new();
        insert(&mut faults, ("a", "b"), Fault::Cut);
        insert(&mut faults, ("a", "b"), Fault::Loss(0));
        assert!(faults.is_empty());
    }
}
