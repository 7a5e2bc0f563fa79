//! Keeps the engine's API versions known, so that no request has to ask for them.

use std::sync::Arc;

use http::{Method, Request};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::body;
use crate::engine::{Engine, EngineFacts, Seen};
use crate::limits::{ENGINE_ANSWER, ENGINE_VERSION_REFRESH, ENGINE_VERSION_RETRY};
use crate::version::{ApiVersion, EngineRange};

/// Looks at once, after a failed connection, and every now and then, until cancelled.
pub(crate) async fn run(
    engine: Engine,
    published: watch::Sender<Seen>,
    doubt: Arc<Notify>,
    cancel: CancellationToken,
) {
    loop {
        let found = tokio::select! {
            () = cancel.cancelled() => return,
            found = look(&engine) => found,
        };
        let pause = if found.is_some() { ENGINE_VERSION_REFRESH } else { ENGINE_VERSION_RETRY };
        published.send_if_modified(|seen| {
            let next = Seen { looked: true, facts: found.or_else(|| seen.facts.clone()) };
            let changed = *seen != next;
            *seen = next;
            changed
        });
        // Doubts are heard after the shortest pause at the earliest: a client that keeps asking a
        // dead engine must not make this loop spin.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(ENGINE_VERSION_RETRY) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(pause.saturating_sub(ENGINE_VERSION_RETRY)) => {}
            () = doubt.notified() => {}
        }
    }
}

async fn look(engine: &Engine) -> Option<EngineFacts> {
    let version = engine.get_json_within("/version".to_owned(), ENGINE_ANSWER).await.ok()?;
    let field = |name| version.get(name).and_then(Value::as_str).and_then(ApiVersion::parse);
    let max = field("ApiVersion")?;
    let min = field("MinAPIVersion").unwrap_or(max);
    Some(EngineFacts {
        range: EngineRange { min, max },
        builder_version: builder_version(engine).await,
    })
}

async fn builder_version(engine: &Engine) -> Option<String> {
    let ping = Request::builder().method(Method::HEAD).uri("/_ping").body(body::empty()).ok()?;
    let answer = timeout(ENGINE_ANSWER, engine.send(ping)).await.ok()?.ok()?;
    let value = answer.response.headers().get("builder-version")?;
    value.to_str().ok().map(str::to_owned)
}
