//! A program that looks from inside a host of the lab: the test's own, started there as `probe …`.
//!
//! A probe prints `probing` when it is ready, waits for a line, looks, and prints a line with its
//! finding. The one who started it takes the time at which that arrives.
#![expect(clippy::unwrap_used, reason = "runs commands for tests")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, ExitCode};
use std::time::Instant;

use super::lab::Lab;

/// A probe that is ready on a host, or looks.
pub struct Probe {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Probe {
    /// Starts a probe and returns when it is ready.
    pub fn start(lab: &Lab, host: &str, words: &[&str]) -> Self {
        Self::start_under(lab, host, &[], words)
    }

    /// Starts a probe under a command that becomes it, such as `nsenter` with its options.
    pub fn start_under(lab: &Lab, host: &str, prefix: &[&str], words: &[&str]) -> Self {
        let own = std::env::current_exe().unwrap();
        let own = [own.to_str().unwrap(), "probe"];
        let mut child = lab.spawn(host, &[prefix, &own, words].concat());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().map(Result::unwrap);
        assert_eq!(first.as_deref(), Some("probing"), "the probe {words:?} on {host} begins");
        Self { child, lines }
    }

    /// Lets the probe look.
    pub fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Returns the next line that the probe prints.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("the probe is there").unwrap()
    }

    /// Ends a probe that works until its input ends.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a probe failed: {status}");
    }

    /// Waits for the finding; returns it and when it came.
    pub fn finding(mut self) -> (String, Instant) {
        let line = self.lines.next().map(Result::unwrap);
        let at = Instant::now();
        let output = self.child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a probe failed: {line:?} {error}");
        (line.expect("a probe that succeeds prints its finding"), at)
    }
}

/// Is a probe: prints `probing`, waits for a line, then looks and prints what was found.
pub fn answer(look: impl FnOnce() -> Result<String, String>) -> ExitCode {
    println!("probing");
    if std::io::stdin().read_line(&mut String::new()).is_err() {
        return ExitCode::FAILURE;
    }
    match look() {
        Ok(finding) => {
            println!("{finding}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
