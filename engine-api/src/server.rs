//! The listener: accepts, bounds and ends connections.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, EngineConfig};
use crate::body::Body;
use crate::control_plane::ControlPlane;
use crate::engine::{Engine, Seen};
use crate::limits::{
    ACCEPT_RETRY, CONNECTIONS_MAX, HEAD_BYTES_MAX, REQUEST_ARRIVAL, SHUTDOWN_GRACE,
};
use crate::{engine_version, reply, router};

/// Serves the Docker Engine API on the listener until cancelled; returns when every connection has
/// ended or was cut.
pub async fn serve(
    listener: UnixListener,
    control: Arc<dyn ControlPlane>,
    engine: EngineConfig,
    cancel: CancellationToken,
) {
    let tracker = TaskTracker::new();
    let app = start(control, engine, &tracker, &cancel);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((stream, permit)) = next(&listener, &permits, &cancel).await {
        tracker.spawn(connection(app.clone(), stream, permit));
    }
    drop(app);
    tracker.close();
    // Each connection bounds its own end; this is the second lock.
    let _ended = timeout(SHUTDOWN_GRACE * 2, tracker.wait()).await;
}

fn start(
    control: Arc<dyn ControlPlane>,
    config: EngineConfig,
    tracker: &TaskTracker,
    cancel: &CancellationToken,
) -> Arc<App> {
    let (published, seen) = watch::channel(Seen::default());
    let doubt = Arc::new(Notify::new());
    let engine = Engine::new(config.socket, tracker.clone(), seen, doubt.clone());
    tracker.spawn(engine_version::run(engine.clone(), published, doubt, cancel.clone()));
    Arc::new(App {
        control,
        engine,
        swarmnet_version: config.swarmnet_version,
        tracker: tracker.clone(),
        cancel: cancel.clone(),
    })
}

/// Returns the next connection; waits while too many are open. `None` once cancelled.
async fn next(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
    cancel: &CancellationToken,
) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let accepted = tokio::select! {
            () = cancel.cancelled() => return None,
            accepted = accepted => accepted?,
        };
        match accepted {
            (Ok((stream, _)), permit) => return Some((stream, permit)),
            (Err(error), _) => {
                tracing::warn!(%error, "cannot accept an API connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(app: Arc<App>, stream: UnixStream, _permit: OwnedSemaphorePermit) {
    let cancel = app.cancel.clone();
    let service = service_fn(move |request| answer(app.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_ARRIVAL)
        .max_buf_size(HEAD_BYTES_MAX)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // How a client's connection ended is the client's business.
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = cancel.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ended = timeout(SHUTDOWN_GRACE, connection).await;
}

async fn answer(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    app.engine.wait_for_facts().await;
    let announced = app.announced();
    let mut response = match router::route(&app, announced, request).await {
        Ok(response) => response,
        Err(error) => reply::error(&error),
    };
    reply::identify(response.headers_mut(), announced, &app.swarmnet_version);
    Ok(response)
}
