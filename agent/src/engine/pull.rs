//! One pull, followed until it ends: `bollard` writes credentials in an alphabet that engines do not
//! read.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response};
use swarmnet_model::SecretText;
use tokio::time::timeout;

use super::EngineError;
use super::raw::{away, exchange};
use super::response::refusal;

/// Bytes of one line of progress; engines write a few hundred.
const LINE_MAX: usize = 1 << 20;

/// What to fetch, and with how much patience.
pub(super) struct Pull<'a> {
    pub(super) path: String,
    pub(super) credentials: Option<&'a SecretText>,
    /// Until the first sign of life.
    pub(super) first: Duration,
    /// Between two.
    pub(super) idle: Duration,
}

impl Pull<'_> {
    /// Fetches.
    ///
    /// # Errors
    /// The registry's and the engine's words, `TimedOut`, `Away`.
    pub(super) async fn run(self, socket: &Path) -> Result<(), EngineError> {
        let mut request = Request::post(&self.path)
            .header("Host", "docker")
            .body(Full::new(Bytes::new()))
            .map_err(away)?;
        if let Some(credentials) = self.credentials {
            let mut value = HeaderValue::from_str(credentials.expose()).map_err(away)?;
            value.set_sensitive(true);
            request.headers_mut().insert("X-Registry-Auth", value);
        }
        exchange(socket, async move |mut sender| {
            let answer = within(self.first, sender.send_request(request)).await?;
            let status = answer.status();
            let progress = Progress { answer, idle: self.idle, unread: Vec::new() };
            if status.is_success() {
                progress.follow().await
            } else {
                progress.refused(status.as_u16()).await
            }
        })
        .await
    }
}

/// Text as part of a query.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

async fn within<T>(
    patience: Duration,
    call: impl Future<Output = hyper::Result<T>>,
) -> Result<T, EngineError> {
    match timeout(patience, call).await {
        Ok(answer) => answer.map_err(away),
        Err(_) => Err(EngineError::TimedOut { after: patience }),
    }
}

struct Progress {
    answer: Response<Incoming>,
    idle: Duration,
    unread: Vec<u8>,
}

impl Progress {
    async fn refused(mut self, status: u16) -> Result<(), EngineError> {
        while self.more().await? {}
        let answer: serde_json::Value = serde_json::from_slice(&self.unread).unwrap_or_default();
        Err(refusal(status, answer["message"].as_str().unwrap_or_default()))
    }

    /// Every line is an object; one with an error is the last.
    async fn follow(mut self) -> Result<(), EngineError> {
        loop {
            let more = self.more().await?;
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                check(&line)?;
            }
            if !more {
                return check(&self.unread);
            }
        }
    }

    /// Reads one piece; false at the end.
    async fn more(&mut self) -> Result<bool, EngineError> {
        let frame = timeout(self.idle, self.answer.body_mut().frame()).await;
        let frame = frame.map_err(|_| EngineError::TimedOut { after: self.idle })?;
        let Some(frame) = frame.transpose().map_err(away)? else { return Ok(false) };
        self.unread.extend(frame.data_ref().into_iter().flatten());
        if self.unread.len() > LINE_MAX {
            return Err(away("a line of progress has no end"));
        }
        Ok(true)
    }
}

fn check(line: &[u8]) -> Result<(), EngineError> {
    let progress: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    let detail = progress["errorDetail"]["message"].as_str();
    match detail.or(progress["error"].as_str()) {
        Some(message) => Err(EngineError::Refused { message: message.trim().to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// What the engine reads, and what comes of its answer.
    async fn pulled(
        answer: &'static str,
        credentials: Option<&str>,
    ) -> (String, Result<(), EngineError>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        };
        let credentials = credentials.map(SecretText::new);
        let pull = Pull {
            path: format!("/v1.41/images/create?fromImage={}&tag=x", escaped("r:5000/a")),
            credentials: credentials.as_ref(),
            first: Duration::from_secs(10),
            idle: Duration::from_secs(10),
        };
        tokio::join!(engine, pull.run(&socket))
    }

    #[tokio::test]
    async fn credentials_are_sent_as_they_were_given() {
        let (head, outcome) =
            pulled("HTTP/1.0 200 OK\r\n\r\n{\"status\":\"a\"}\n", Some("e30=")).await;
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(head.starts_with("POST /v1.41/images/create?fromImage=r%3A5000%2Fa&tag=x"));
        assert!(head.to_ascii_lowercase().contains("x-registry-auth: e30="), "{head}");
        let (head, _) = pulled("HTTP/1.0 200 OK\r\n\r\n", None).await;
        assert!(!head.to_ascii_lowercase().contains("x-registry-auth"), "{head}");
    }

    #[tokio::test]
    async fn refusals_are_told_in_the_registrys_words() {
        let progress = "HTTP/1.0 200 OK\r\n\r\n{\"status\":\"a\"}\n\
                        {\"errorDetail\":{\"message\":\"denied\"},\"error\":\"denied\"}";
        let (_, outcome) = pulled(progress, None).await;
        assert_eq!(outcome.unwrap_err().to_string(), "denied");
        let refused = "HTTP/1.0 404 Not Found\r\n\r\n{\"message\":\"no such manifest\"}";
        let (_, outcome) = pulled(refused, None).await;
        assert!(
            matches!(&outcome, Err(EngineError::Missing { message })
            if message == "no such manifest"),
            "{outcome:?}"
        );
    }
}
