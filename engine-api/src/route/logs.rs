//! Logs of services and tasks.

use futures::StreamExt;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use swarmnet_model::LogSelector;

use crate::app::Exchange;
use crate::body::BoxError;
use crate::control_plane::LogStream;
use crate::log::frame::Form;
use crate::log::options;
use crate::reply::Answer;
use crate::route::{service, task};
use crate::version::ApiVersion;

/// From this version on, clients are told that the stream is framed.
const FRAMES_NAMED_SINCE: ApiVersion = ApiVersion::new(1, 42);

pub(crate) async fn of_service(x: Exchange, reference: &str) -> Answer {
    let wanted = options::read(&x.query)?;
    let tables = x.app.tables().await?;
    let service = service::find(&tables, reference)?;
    let tty = service.spec.task.container.tty;
    let selector = LogSelector::Service(service.id.clone());
    let form = Form::new(&wanted, tty);
    let lines = x.app.control.logs(selector, wanted).await?;
    Ok(answer(lines, form, content_type(tty, x.version)))
}

pub(crate) async fn of_task(x: Exchange, reference: &str) -> Answer {
    let wanted = options::read(&x.query)?;
    let tables = x.app.tables().await?;
    let task = task::find(&tables, reference)?;
    let tty = task.spec.container.tty;
    let form = Form::new(&wanted, tty);
    let lines = x.app.control.logs(LogSelector::Task(task.id.clone()), wanted).await?;
    Ok(answer(lines, form, content_type(tty, x.version)))
}

fn content_type(tty: bool, version: ApiVersion) -> &'static str {
    match !tty && version >= FRAMES_NAMED_SINCE {
        true => "application/vnd.docker.multiplexed-stream",
        false => "application/vnd.docker.raw-stream",
    }
}

/// The head goes out at once. Lines are taken as fast as the client reads; when it leaves, the body
/// is dropped, and with it the stream.
fn answer(lines: LogStream, form: Form, content_type: &'static str) -> Response<crate::body::Body> {
    let frames = lines.map(move |lines| {
        let mut bytes = Vec::new();
        match lines {
            Ok(lines) => lines.iter().for_each(|line| form.line(line, &mut bytes)),
            Err(error) => form.error(&error, &mut bytes),
        }
        Ok::<_, BoxError>(Frame::data(bytes.into()))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
