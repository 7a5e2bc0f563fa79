//! Figures of our path beside its peer's, from one run on one lab: `make bench`.
//!
//! Every row alternates ours and the peer's round by round, and prints both medians, their spread and
//! their ratio. Only ratios mean something: absolute figures move by a third from hour to hour on a
//! shared machine. Nothing is asserted on time; a row fails only if something does not answer.
//!
//! `start` service start · `idle` what daemons cost that do nothing · `mesh` requests through the mesh · `restart` a daemon that is killed ·
//! `overlay` task to task · `vip` a service's address · `program` ten thousand services · `dns` names
//! of services · `fanout` one change on many nodes · `scale` a hundred thousand tasks on simulated
//! nodes: a word on the command line selects rows. `WAIT=0` does not wait for a quiet machine,
//! `KEEP=1` leaves the lab up. Needs root.
#![expect(clippy::unwrap_used, reason = "a program for developers: a wrong step ends it")]

mod dns;
mod fanout;
mod figures;
mod idle;
mod machine;
mod many;
mod mesh;
mod names;
mod namespace;
mod overlay;
mod path;
mod peers;
mod probe;
mod program;
mod report;
mod restart;
mod scale;
mod services;
#[path = "../scale/sim/mod.rs"]
mod sim;
mod sockets;
mod start;
mod vip;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use swarmnet_tests::harness::lab::Lab;

use report::{Report, Row};

enum Measure {
    /// On the hosts of a lab.
    Lab(fn(&Lab) -> Vec<Row>),
    /// In networks of its own.
    Alone(fn() -> Vec<Row>),
}

const ROWS: &[(&str, Measure)] = &[
    ("start", Measure::Lab(start::measure)),
    ("idle", Measure::Lab(idle::measure)),
    ("mesh", Measure::Lab(mesh::measure)),
    ("restart", Measure::Lab(restart::measure)),
    ("overlay", Measure::Lab(overlay::measure)),
    ("vip", Measure::Lab(vip::measure)),
    ("program", Measure::Alone(program::measure)),
    ("dns", Measure::Lab(dns::measure)),
    ("scale", Measure::Alone(scale::measure)),
    ("fanout", Measure::Alone(fanout::measure)),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    // This program starts itself inside hosts of the lab, to look from there.
    if let Some(("probe", words)) = words.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return probe::run(words);
    }
    if let Some((scale::NODES, words)) =
        words.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return scale::nodes(words);
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let selected: Vec<_> = ROWS.iter().filter(|(name, _)| wanted(name)).collect();
    if selected.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
        eprintln!("no such row; there are: {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let on_a_lab = selected.iter().any(|(_, measure)| matches!(measure, Measure::Lab(_)));
    let lab = on_a_lab.then(|| Lab::start("bench", &["--swarm"]));
    let mut report = Report::begin(&machine::describe(lab.as_ref()));
    if let Some(warning) = machine::wait_until_quiet() {
        report.line(warning);
    }
    let mut whole = true;
    for (name, measure) in selected {
        report.line(&format!("\n{name} ({})", machine::activity()));
        let rows = || match (measure, &lab) {
            (Measure::Lab(measure), Some(lab)) => measure(lab),
            (Measure::Alone(measure), _) => measure(),
            (Measure::Lab(_), None) => unreachable!("a row on a lab has started one"),
        };
        match catch_unwind(AssertUnwindSafe(rows)) {
            Ok(rows) => rows.iter().for_each(|row| report.row(row)),
            Err(_panic) => {
                lab.iter().for_each(Lab::show_logs);
                report.failed(name);
                whole = false;
            }
        }
        lab.iter().for_each(Lab::remove_all_services);
    }
    lab.iter().for_each(Lab::stop);
    report.end();
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
