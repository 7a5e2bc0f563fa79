//! The two questions the daemon itself has for the Docker Engine: is it there, is it in a swarm.
//!
//! Everything else about the engine belongs to `agent` (containers) and `engine-api` (pass-through).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// How the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EngineState {
    /// Usable.
    Ready {
        version: String,
    },
    /// In a swarm of its own: its routes and networks would be in the way.
    InSwarm,
    Away {
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    server_version: String,
    #[serde(default)]
    swarm: Swarm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Swarm {
    #[serde(default)]
    local_node_state: String,
}

/// Asks the engine at this socket.
pub(crate) async fn ask(socket: &Path) -> EngineState {
    let answer = match tokio::time::timeout(TIMEOUT, get_info(socket)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return EngineState::Away { reason: error.to_string() },
        Err(_) => return EngineState::Away { reason: "it does not answer".to_owned() },
    };
    understand(&answer)
}

/// HTTP/1.0: the engine closes the connection at the end, and sends no chunks.
async fn get_info(socket: &Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"GET /info HTTP/1.0\r\nHost: docker\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn understand(answer: &[u8]) -> EngineState {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = split.map_or(&[][..], |at| &answer[at + 4..]);
    match serde_json::from_slice::<Info>(body) {
        Ok(info) if matches!(info.swarm.local_node_state.as_str(), "" | "inactive") => {
            EngineState::Ready { version: info.server_version }
        }
        Ok(_) => EngineState::InSwarm,
        Err(_) => EngineState::Away { reason: "its answer cannot be read".to_owned() },
    }
}

/// Says what is wrong and how to mend it; `None` for a usable engine.
pub(crate) fn complaint(state: &EngineState, socket: &Path) -> Option<String> {
    match state {
        EngineState::Ready { .. } => None,
        EngineState::InSwarm => Some(in_swarm(socket)),
        EngineState::Away { reason } => Some(format!(
            "The Docker Engine at {} cannot be reached ({reason}). Start it (systemctl start \
             docker), or name its socket with --engine. It is picked up as soon as it answers.",
            socket.display()
        )),
    }
}

/// The text for users of `init` and `join`, and for the log.
pub(crate) fn in_swarm(socket: &Path) -> String {
    format!(
        "The Docker Engine of this node is part of a swarm of its own. Leave it first with \
         \"docker -H unix://{} swarm leave --force\" and try again.",
        PathBuf::from(socket).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Vec<u8> {
        format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").into_bytes()
    }

    #[test]
    fn an_engine_is_ready_unless_it_is_in_a_swarm() {
        let ready = r#"{"ServerVersion":"20.10.24","Swarm":{"LocalNodeState":"inactive"}}"#;
        let version = "20.10.24".to_owned();
        assert_eq!(understand(&answer(ready)), EngineState::Ready { version });
        for state in ["active", "pending", "locked", "error"] {
            let body = ready.replace("inactive", state);
            assert_eq!(understand(&answer(&body)), EngineState::InSwarm, "{state}");
        }
    }

    #[test]
    fn an_unreadable_answer_is_no_engine() {
        for bytes in [&b""[..], b"HTTP/1.0 200 OK\r\n\r\n", b"\r\n\r\nnonsense"] {
            assert!(matches!(understand(bytes), EngineState::Away { .. }));
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_explained_with_the_mend() {
        let socket = Path::new("/nonexistent/docker.sock");
        let text = complaint(&ask(socket).await, socket).unwrap();
        assert!(text.contains("/nonexistent/docker.sock") && text.contains("--engine"), "{text}");
    }
}
