//! Writes the nft table `swarmnet` in one transaction, and only when it differs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::netns;
use super::nft_rules::{Fingerprint, TABLE, TableSpec, fingerprint_of};

/// Longest run of one child process; nft waits for the lock of concurrent transactions.
const RUN_TIMEOUT: Duration = Duration::from_secs(5);

/// A firewall program that did not do what we asked.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    #[error("running {program} (is its package installed?)")]
    Start {
        program: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{program}: no answer within {} s", RUN_TIMEOUT.as_secs())]
    Timeout { program: &'static str },
    #[error("{program} refused: {message}")]
    Refused { program: &'static str, message: String },
    #[error("{program} printed something that is no listing")]
    Listing {
        program: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// Puts the table in place unless it is there already; true if it was written.
///
/// # Errors
/// `FirewallError`; the earlier table is then untouched.
pub async fn ensure_table(spec: &TableSpec) -> Result<bool, FirewallError> {
    if observed().await? == Some(spec.fingerprint()) {
        return Ok(false);
    }
    run("nft", &["-f", "-"], &spec.script()).await?;
    Ok(true)
}

/// Removes the table; an absent one is not an error.
///
/// # Errors
/// `FirewallError`.
pub async fn remove_table() -> Result<(), FirewallError> {
    let script = format!("add table ip {TABLE}\ndelete table ip {TABLE}\n");
    run("nft", &["-f", "-"], &script).await?;
    Ok(())
}

/// Returns what is in the kernel, `None` without a table.
async fn observed() -> Result<Option<Fingerprint>, FirewallError> {
    let listing = match run("nft", &["-j", "list", "table", "ip", TABLE], "").await {
        Ok(text) => text,
        Err(FirewallError::Refused { message, .. }) if message.contains("No such file") => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let listing = serde_json::from_str(&listing)
        .map_err(|source| FirewallError::Listing { program: "nft", source })?;
    Ok(Some(fingerprint_of(&listing)))
}

/// Runs a firewall program with a deadline and returns what it printed.
pub(super) async fn run(
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, FirewallError> {
    finish(program, command(program, arguments).spawn(), input).await
}

/// As [`run`], in the network namespace bound at `path`.
pub(super) async fn run_inside(
    path: &Path,
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, FirewallError> {
    let (path, mut command) = (path.to_owned(), command(program, arguments));
    let runtime = tokio::runtime::Handle::current();
    // A child is where the thread is that starts it.
    let spawn = move || {
        netns::inside(&path, || {
            let _entered = runtime.enter();
            command.spawn()
        })
    };
    let child = tokio::task::spawn_blocking(spawn).await;
    let child = child.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    finish(program, child, input).await
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn finish(
    program: &'static str,
    child: std::io::Result<Child>,
    input: &str,
) -> Result<String, FirewallError> {
    let output = async {
        let mut child = child?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(RUN_TIMEOUT, output)
        .await
        .map_err(|_| FirewallError::Timeout { program })?
        .map_err(|source| FirewallError::Start { program, source })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(FirewallError::Refused { program, message });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
