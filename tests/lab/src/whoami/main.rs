//! whoami: a small server that says who answered whom.
//!
//! Answers every HTTP/1.1 request (keep-alive) and every UDP datagram on one port with host name,
//! task, local and remote address. `?delay=MS` delays an answer,
//! `?size=BYTES` pads or cuts it, `/health` is a health check and
//! `/fail` makes it fail. On SIGTERM it ends in good order: what waits to be accepted is accepted,
//! requests under way are answered, connections are closed after an answer that says so.
//!
//! Usage: `whoami [--port PORT]` (or `PORT`, default 80); `whoami healthcheck [--port PORT]` asks
//! `/health` of a server on this host and ends with status 0 or 1; `whoami call` is a client. Started
//! as `nc` it is one.

mod caller;
mod health;
mod http;
mod netcat;
mod reply;
mod tcp;
mod udp;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};

const DEFAULT_PORT: u16 = 80;

/// What all connections share.
pub(crate) struct Server {
    /// SIGTERM came: finish and close.
    pub(crate) draining: AtomicBool,
    /// `/health` answers 503.
    pub(crate) failing: AtomicBool,
    pub(crate) identity: reply::Identity,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Serve,
    HealthCheck,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}: {error:#}", own_name());
            ExitCode::FAILURE
        }
    }
}

/// Returns the name this program was started under, without its directory.
fn own_name() -> String {
    let name = std::env::args().next().unwrap_or_default();
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

fn run() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if own_name() == "nc" {
        return netcat::run(&args).map(|()| ExitCode::SUCCESS);
    }
    if let Some(("call", rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return caller::run(rest).map(|()| ExitCode::SUCCESS);
    }
    let (mode, port) = options(&args, std::env::var("PORT").ok().as_deref())?;
    match mode {
        Mode::HealthCheck => Ok(health::check(port)),
        Mode::Serve => serve(port).map(|()| ExitCode::SUCCESS),
    }
}

fn serve(port: u16) -> Result<()> {
    // Blocked in every thread, and so also for process 1, until it is waited for below.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("blocking signals")?;
    let server = Arc::new(Server {
        draining: AtomicBool::new(false),
        failing: AtomicBool::new(std::env::var_os("FAIL").is_some()),
        identity: reply::Identity::read(),
    });
    let acceptor = tcp::start(port, Arc::clone(&server))?;
    udp::start(port, Arc::clone(&server))?;
    println!("serving on port {port} as {}", server.identity.hostname);
    let signal = signals.wait().context("waiting for a signal")?;
    println!("{signal}: finishing");
    acceptor.finish(&server);
    Ok(())
}

fn options(args: &[String], environment: Option<&str>) -> Result<(Mode, u16)> {
    let (mut mode, mut port) = (Mode::Serve, environment.map(str::to_owned));
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "healthcheck" => mode = Mode::HealthCheck,
            "--port" => port = Some(words.next().context("--port needs a number")?.clone()),
            other => bail!("unknown argument {other:?}; usage: whoami [healthcheck] [--port PORT]"),
        }
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) => text.parse().with_context(|| format!("bad port {text:?}"))?,
    };
    Ok((mode, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str], environment: Option<&str>) -> Option<(Mode, u16)> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        options(&args, environment).ok()
    }

    #[test]
    fn the_port_is_taken_from_the_flag_then_the_environment() {
        assert_eq!(parse(&[], None), Some((Mode::Serve, 80)));
        assert_eq!(parse(&[], Some("8080")), Some((Mode::Serve, 8080)));
        assert_eq!(parse(&["--port", "81"], Some("8080")), Some((Mode::Serve, 81)));
        assert_eq!(parse(&["healthcheck"], None), Some((Mode::HealthCheck, 80)));
    }

    #[test]
    fn nonsense_is_refused() {
        for args in [&["--port"][..], &["--port", "x"], &["--port", "65536"], &["serve"]] {
            assert_eq!(parse(args, None), None, "{args:?} were accepted");
        }
    }
}
