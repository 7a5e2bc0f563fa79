//! `swarmnet connectivity test`: asks the managers, by this node's API socket, how the nodes reach
//! each other.

use std::fmt::{self, Display};
use std::io::{Read, Write, stdout};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use swarmnet_agent::debug::table;
use swarmnet_model::Connectivity;
use swarmnet_model::connectivity::{PathTested, Problem};
use swarmnet_model::limits::CALL_TIMEOUT;

use crate::cli::{ConnectivityTestArgs, Output};

/// The managers answer earlier, whatever they have.
const PATIENCE: Duration = CALL_TIMEOUT.saturating_add(Duration::from_secs(5));
/// The result for the largest cluster that can be tested is smaller.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

pub(super) fn run(args: &ConnectivityTestArgs) -> anyhow::Result<()> {
    eprintln!("sending frames between every pair of nodes, which takes up to 16 s …");
    let result = ask(&args.socket)?;
    let text = match args.output {
        Output::Table => Shown(&result).to_string(),
        Output::Json => serde_json::to_string_pretty(&result)?,
    };
    writeln!(stdout(), "{}", text.trim_end())?;
    let problems = problems(&result).count();
    ensure!(result.is_good(), "{problems} problem(s) found");
    Ok(())
}

/// HTTP/1.0: the daemon closes the connection at the end, and sends no chunks.
fn ask(socket: &Path) -> anyhow::Result<Connectivity> {
    let connect = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"POST /swarm/connectivity HTTP/1.0\r\nHost: swarmnet\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = connect().with_context(|| {
        format!("asking the daemon at {} (is it running? --socket names another)", socket.display())
    })?;
    understand(&answer)
}

fn understand(answer: &[u8]) -> anyhow::Result<Connectivity> {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = answer.split_at(split.map_or(answer.len(), |at| at + 4));
    let head = String::from_utf8_lossy(head);
    if head.split_whitespace().nth(1) == Some("200") {
        return serde_json::from_slice(body).context("the daemon's answer cannot be read");
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => bail!("{}", refusal.message),
        Err(_) => bail!("the daemon answered {:?}", head.lines().next().unwrap_or_default()),
    }
}

fn problems(result: &Connectivity) -> impl Iterator<Item = &Problem> {
    let nodes = result.nodes.iter().filter_map(|node| node.problem.as_ref());
    nodes.chain(result.paths.iter().filter_map(|path| path.problem.as_ref()))
}

/// The result as a person reads it: every way, then what is wrong and what to do.
struct Shown<'a>(&'a Connectivity);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.0.paths.iter().map(row).collect();
        table::write(f, &["FROM", "TO", "RESULT", "ROUND TRIP", "LARGEST PACKET"], &rows)?;
        if self.0.is_good() {
            let (nodes, ways) = (self.0.nodes.len(), self.0.paths.len());
            return writeln!(f, "\n{nodes} nodes, {ways} ways between them: all carry full frames");
        }
        let mut told = Vec::new();
        for problem in problems(self.0) {
            if !told.contains(&problem) {
                told.push(problem);
                let Problem { hop, what, fix } = problem;
                writeln!(f, "\n{hop}: {what}\n  to do: {fix}")?;
            }
        }
        Ok(())
    }
}

fn row(path: &PathTested) -> Vec<String> {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let round_trip = |us: u64| format!("{:.3} ms", us as f64 / 1_000.0);
    vec![
        path.from.clone(),
        path.to.clone(),
        if path.problem.is_none() { "ok" } else { "FAILED" }.to_owned(),
        path.round_trip_us.map_or_else(|| "-".to_owned(), round_trip),
        format!("{} of {}", path.largest, path.mtu),
    ]
}

#[cfg(test)]
mod tests {
    use swarmnet_model::NodeId;
    use swarmnet_model::connectivity::NodeTested;

    use super::*;

    fn path(from: &str, to: &str, problem: Option<Problem>) -> PathTested {
        PathTested {
            from: from.to_owned(),
            to: to.to_owned(),
            sent: 10,
            answered: 10,
            round_trip_us: problem.is_none().then_some(214),
            mtu: 1450,
            largest: if problem.is_none() { 1450 } else { 0 },
            problem,
        }
    }

    fn result(problem: Option<Problem>) -> Connectivity {
        let node = |name: &str| NodeTested {
            id: NodeId::from_text(name),
            hostname: name.to_owned(),
            addr: [10, 20, 20, 100].into(),
            problem: None,
        };
        let nodes = ["a", "b"].map(node).into();
        Connectivity { nodes, paths: vec![path("a", "b", None), path("b", "a", problem)] }
    }

    #[test]
    fn a_good_result_is_a_table_and_a_line() {
        assert_eq!(
            Shown(&result(None)).to_string(),
            "FROM  TO  RESULT  ROUND TRIP  LARGEST PACKET\n\
             a     b   ok      0.214 ms    1450 of 1450\n\
             b     a   ok      0.214 ms    1450 of 1450\n\
             \n2 nodes, 2 ways between them: all carry full frames\n"
        );
    }

    #[test]
    fn a_problem_names_the_hop_and_the_remedy() {
        let hop = "b → a".to_owned();
        let problem = Problem { hop, what: "silence".into(), fix: "open the port".into() };
        let text = Shown(&result(Some(problem))).to_string();
        assert!(text.contains("b     a   FAILED  -           0 of 1450"), "{text}");
        assert!(text.ends_with("\nb → a: silence\n  to do: open the port\n"), "{text}");
    }

    #[test]
    fn the_daemons_refusal_is_told_in_its_words() {
        let worker =
            b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\n{\"message\":\"no manager\"}";
        assert_eq!(understand(worker).unwrap_err().to_string(), "no manager");
        assert!(understand(b"HTTP/1.0 200 OK\r\n\r\nnonsense").is_err());
        assert!(understand(b"").is_err());
        let good = [&b"HTTP/1.0 200 OK\r\n\r\n"[..], &serde_json::to_vec(&result(None)).unwrap()];
        assert_eq!(understand(&good.concat()).unwrap(), result(None));
    }
}
