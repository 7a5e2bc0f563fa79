//! Runs other programs and says what went wrong in their own words.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// The program cannot be started, or ends with another status than 0: with what it wrote to stderr.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    output_of(&mut command)
}

/// Like `run`, for a command that is already put together.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting `{shown}`"))?;
    check(&shown, &output)
}

/// Runs a program that reads its work from stdin.
pub(crate) fn run_with_input(program: &str, args: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = show(&command);
    let mut child = command.spawn().with_context(|| format!("starting `{shown}`"))?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).with_context(|| format!("writing to `{shown}`"))?;
    drop(stdin);
    let output = child.wait_with_output()?;
    check(&shown, &output).with_context(|| format!("input was:\n{input}"))
}

/// Reports whether a program can be found on `PATH`.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn check(shown: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("`{shown}` failed ({}): {}", output.status, stderr.trim())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_programs_own_words() {
        let error = run("sh", &["-c", "echo no such thing >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("no such thing") && error.contains('3'), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(run_with_input("cat", &[], "through").unwrap(), "through");
    }
}
