//! `GET /events`: what happens to this node's engine, and on a manager what happens to the cluster.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{Stream, StreamExt, iter, select, unfold};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::app::{App, Exchange};
use crate::body::{self, Body, BoxError};
use crate::control_plane::SwarmEvents;
use crate::engine::EngineAnswer;
use crate::error::ApiError;
use crate::event::local::{LocalEvents, for_engine};
use crate::event::swarm;
use crate::event::wanted::Wanted;
use crate::limits::EVENT_BYTES_MAX;
use crate::passthrough::relay;
use crate::path::encode;
use crate::reply::Answer;

pub(crate) async fn stream(x: Exchange) -> Answer {
    let wanted = Arc::new(Wanted::read(&x.query)?);
    let answer = ask_engine(&x, &wanted).await?;
    if !answer.response.status().is_success() {
        return Ok(relay(answer.response, answer.connection));
    }
    let (head, incoming) = answer.response.into_parts();
    let local = local_events(incoming, answer.connection, x.app.clone(), Arc::clone(&wanted));
    let lines = match x.app.control.events(wanted.since) {
        Some(events) => select(local, swarm_events(events, &x.app, &wanted)).boxed(),
        None => local.boxed(),
    };
    let frames = lines.map(|line| line.map(Frame::data));
    let mut response: Response<Body> = Response::new(StreamBody::new(frames).boxed_unsync());
    if let Some(value) = head.headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, value.clone());
    }
    Ok(response)
}

async fn ask_engine(x: &Exchange, wanted: &Wanted) -> Result<EngineAnswer, ApiError> {
    let version = x.app.engine.version_for(x.version);
    let filters = encode(&for_engine(&wanted.filters));
    let (since, until) = (encode(x.query.get("since")), encode(x.query.get("until")));
    let path = format!("/v{version}/events?since={since}&until={until}&filters={filters}");
    let request = Request::get(path)
        .body(body::empty())
        .map_err(|error| ApiError::bad_request(format!("invalid path: {error}")))?;
    x.app.engine.send(request).await
}

/// The engine's answer, of which a part is not read yet.
struct Reading {
    incoming: Incoming,
    /// Ends with the reading.
    _connection: AbortOnDropHandle<()>,
    rest: BytesMut,
    events: LocalEvents,
    app: Arc<App>,
    wanted: Arc<Wanted>,
}

fn local_events(
    incoming: Incoming,
    connection: AbortOnDropHandle<()>,
    app: Arc<App>,
    wanted: Arc<Wanted>,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    let (rest, events) = (BytesMut::new(), LocalEvents::default());
    let reading = Reading { incoming, _connection: connection, rest, events, app, wanted };
    unfold(reading, |mut reading| async move {
        let line = reading.next().await?;
        Some((line, reading))
    })
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if let Some(line) = self.line() {
                let local = self.app.control.local_networks();
                if let Some(told) = self.events.line(&line, &self.wanted, &local) {
                    return Some(Ok(told.into()));
                }
                continue;
            }
            if self.rest.len() > EVENT_BYTES_MAX {
                return Some(Err("the engine's event is too long".into()));
            }
            match self.incoming.frame().await? {
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.rest.extend_from_slice(&bytes);
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }

    /// Returns the next whole line.
    fn line(&mut self) -> Option<Bytes> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.rest.copy_to_bytes(end + 1);
        Some(line)
    }
}

/// The cluster's events: those of the past at once, the others until the time that is asked for.
fn swarm_events(
    events: SwarmEvents,
    app: &App,
    wanted: &Arc<Wanted>,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + use<> {
    let left = wanted.until.map(|until| until.since(app.control.now()));
    let next = events.next.take_until(passed(left));
    let wanted = Arc::clone(wanted);
    iter(events.past).chain(next).filter_map(move |event| {
        let in_time = wanted.until.is_none_or(|until| event.time <= until);
        let line = if in_time { swarm::line(&event, &wanted) } else { None };
        std::future::ready(line.map(|line| Ok(Bytes::from(line))))
    })
}

async fn passed(left: Option<Duration>) {
    match left {
        Some(left) => sleep(left).await,
        None => std::future::pending().await,
    }
}
