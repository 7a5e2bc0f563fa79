//! Ten thousand services, made as fast as the API takes them.

use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::probe::exchange;

/// Creates services without tasks, each with a VIP on a network; the finding is their number.
pub(crate) fn create(count: usize, network: &str) -> Result<String, String> {
    let socket = std::env::var("DOCKER_HOST").map_err(|error| error.to_string())?;
    let socket = socket.trim_start_matches("unix://");
    for number in 0..count {
        let body = json!({
            "Name": format!("bench-vip-{number}"),
            "TaskTemplate": {
                "ContainerSpec": { "Image": "whoami" },
                "Networks": [{ "Target": network }],
            },
            "Mode": { "Replicated": { "Replicas": 0 } },
        })
        .to_string();
        let head = format!(
            "POST /v1.41/services/create HTTP/1.0\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = UnixStream::connect(socket).and_then(|s| exchange(&s, &(head + &body)));
        let answer = answer.map_err(|error| format!("service {number}: {error}"))?;
        if !answer.contains(" 201 ") {
            return Err(format!("service {number}: {answer}"));
        }
    }
    Ok(count.to_string())
}
