//! The table: on stdout, and in `target/bench.txt`.

use std::fmt::Write as _;
use std::path::PathBuf;

use swarmnet_tests::harness::lab::binaries;

use crate::figures::Samples;

/// How a figure is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    PerSecond,
    GigabitPerSecond,
    /// Of one CPU.
    Percent,
    Mebibytes,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Samples,
    /// Empty where there is no peer.
    pub(crate) peer: Samples,
    /// What was run and how, a line each.
    pub(crate) conditions: Vec<String>,
}

/// What has been printed so far.
pub(crate) struct Report {
    text: String,
}

impl Report {
    pub(crate) fn begin(machine: &str) -> Self {
        let mut report = Self { text: String::new() };
        report.line(machine);
        report.line(&columns("", "ours", "peer", "ours/peer"));
        report
    }

    pub(crate) fn row(&mut self, row: &Row) {
        if row.peer.all().is_empty() {
            self.line(&columns(&row.name, &figure(&row.ours, row.unit), "-", "-"));
            row.conditions.iter().for_each(|condition| self.line(&format!("    {condition}")));
            return;
        }
        let ratios = row.ours.ratios(&row.peer);
        let (least, most) = ratios.spread();
        let ratio = format!("{:.2} ({least:.2} to {most:.2})", ratios.median());
        let ours = figure(&row.ours, row.unit);
        self.line(&columns(&row.name, &ours, &figure(&row.peer, row.unit), &ratio));
        for condition in &row.conditions {
            self.line(&format!("    {condition}"));
        }
        self.line(&format!("    rounds: ours {}", rounds(&row.ours, row.unit)));
        self.line(&format!("            peer {}", rounds(&row.peer, row.unit)));
    }

    pub(crate) fn failed(&mut self, name: &str) {
        self.line(&format!("{name}: FAILED, no figure"));
    }

    pub(crate) fn end(self) {
        let file: PathBuf = binaries().join("../bench.txt");
        match std::fs::write(&file, &self.text) {
            Ok(()) => println!("\nalso in {}", file.display()),
            Err(error) => println!("\nnot written to {}: {error}", file.display()),
        }
    }

    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        writeln!(self.text, "{line}").expect("a String takes all writes");
    }
}

fn columns(name: &str, ours: &str, peer: &str, ratio: &str) -> String {
    format!("{name:<50} {ours:<32} {peer:<32} {ratio}")
}

fn figure(samples: &Samples, unit: Unit) -> String {
    let (least, most) = samples.spread();
    let write = |value| written(value, unit);
    let name = match unit {
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
        Unit::PerSecond => "/s",
        Unit::GigabitPerSecond => "Gbit/s",
        Unit::Percent => "%",
        Unit::Mebibytes => "MiB",
    };
    format!("{} {name} ({} to {})", write(samples.median()), write(least), write(most))
}

fn rounds(samples: &Samples, unit: Unit) -> String {
    samples.all().iter().map(|value| written(*value, unit)).collect::<Vec<_>>().join(" ")
}

fn written(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds if value < 100.0 => format!("{value:.1}"),
        Unit::GigabitPerSecond | Unit::Microseconds | Unit::Percent => format!("{value:.2}"),
        Unit::Mebibytes => format!("{value:.1}"),
        Unit::Milliseconds | Unit::PerSecond => format!("{value:.0}"),
    }
}
