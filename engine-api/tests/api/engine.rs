//! A small HTTP server that behaves like a Docker Engine 20.10 where these tests look.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const PLUGIN_NETWORK_ID: &str =
    "5e025e5bd308950ea37a58d5f300b18ac008fc0c6cb0ea193704eb7c08ae7801";
pub(crate) const GATEWAY_NETWORK_ID: &str =
    "1f49cf74d308950ea37a58d5f300b18ac008fc0c6cb0ea193704eb7c08ae7802";
pub(crate) const BRIDGE_ID: &str =
    "ae402ecd348d047aebe240d3dbd9fd28f69c4ee3c08d8730b1d1ac0277ba02da";

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
pub(crate) struct FakeEngine {
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// `LocalNodeState` of its own swarm; empty = inactive.
    pub(crate) own_swarm: Mutex<String>,
    /// Feeds `/containers/logs/logs`; set by the test, taken by the request.
    pub(crate) log_lines: Mutex<Option<mpsc::Receiver<Bytes>>>,
    /// Rises while a log stream is open, falls when its reader is gone.
    pub(crate) open_logs: watch::Sender<usize>,
    tracker: TaskTracker,
}

impl FakeEngine {
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener, cancel: CancellationToken) {
        loop {
            let stream = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = listener.accept() => accepted.unwrap().0,
            };
            let engine = self.clone();
            let service = service_fn(move |request| engine.clone().answer(request));
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let cancel = cancel.clone();
            self.tracker.spawn(async move {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    _ended = connection => {}
                }
            });
        }
    }

    pub(crate) fn uris(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.uri.clone()).collect()
    }

    pub(crate) fn last(&self, part: &str) -> Seen {
        let seen = self.seen.lock().unwrap();
        let found = seen.iter().rev().find(|seen| seen.uri.contains(part));
        found.unwrap_or_else(|| panic!("nobody asked for {part}")).clone()
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        self.seen.lock().unwrap().push(Seen {
            method: request.method().clone(),
            uri: request.uri().to_string(),
            headers: request.headers().clone(),
        });
        let path = request.uri().path().to_owned();
        let path = path.strip_prefix("/v1.41").unwrap_or(&path).to_owned();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut response = match segments.as_slice() {
            ["exec", _, "start"] | ["session"] => self.upgrade(request),
            ["build"] => json_answer(&json!({"bytes": length(request).await})),
            ["echo"] => full(request.into_body().collect().await.unwrap().to_bytes()),
            ["containers", "logs", "logs"] => self.logs(),
            ["containers", "slow", "wait"] => std::future::pending().await,
            ["containers", "create"] | ["networks", _, "connect" | "disconnect"] => {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                full(body)
            }
            other => self.plain(other),
        };
        let headers = response.headers_mut();
        headers.insert("server", "Docker/20.10.24 (linux)".parse().unwrap());
        headers.insert("api-version", "1.41".parse().unwrap());
        headers.insert("builder-version", "1".parse().unwrap());
        headers.insert("x-engine", "kept".parse().unwrap());
        Ok(response)
    }

    fn plain(&self, segments: &[&str]) -> Response<Body> {
        match segments {
            ["version"] => json_answer(&json!({
                "Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12",
                "Components": [{"Name": "Engine", "Details": {"ApiVersion": "1.41"}}],
            })),
            ["info"] => {
                let state = self.own_swarm.lock().unwrap().clone();
                let state = if state.is_empty() { "inactive".to_owned() } else { state };
                json_answer(&json!({
                    "ID": "HHIN", "Warnings": null, "Swarm": {"LocalNodeState": state},
                    "Plugins": {"Network": ["bridge", "overlay", "swarmnet"]},
                }))
            }
            ["events"] => {
                let mut response = full(events());
                let json = "application/json".parse().unwrap();
                response.headers_mut().insert("content-type", json);
                response
            }
            ["networks"] => json_answer(&networks()),
            ["networks", "prune"] => json_answer(&json!({"NetworksDeleted": ["old"]})),
            ["networks", id] => match networks()
                .as_array()
                .unwrap()
                .iter()
                .find(|network| network["Id"] == *id || network["Name"] == *id)
            {
                Some(network) => json_answer(network),
                None => refusal(StatusCode::NOT_FOUND, &format!("network {id} not found")),
            },
            ["containers", "json"] => json_answer(&json!([container()])),
            ["containers", _, "json"] => json_answer(&container()),
            _ => refusal(StatusCode::NOT_FOUND, "page not found"),
        }
    }

    /// A log stream that stays open until the test ends it or the reader goes.
    fn logs(&self) -> Response<Body> {
        let lines = self.log_lines.lock().unwrap().take().expect("the test has set the lines");
        self.open_logs.send_modify(|open| *open += 1);
        let open = OpenLog(self.open_logs.clone());
        let frames = tokio_stream_of(lines).map(move |line| {
            let _open = &open;
            Ok(Frame::data(line))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    /// Says hello, reads to the end of input, then says how much came, then closes.
    fn upgrade(&self, mut request: Request<Incoming>) -> Response<Body> {
        let Some(protocol) = request.headers().get("upgrade").cloned() else {
            return refusal(StatusCode::BAD_REQUEST, "no upgrade asked for");
        };
        let upgraded = hyper::upgrade::on(&mut request);
        self.tracker.spawn(async move {
            // The JSON body comes before the raw stream.
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            stream.write_all(b"hello ").await.unwrap();
            let mut input = Vec::new();
            stream.read_to_end(&mut input).await.unwrap();
            let report = format!("body={} input={}", body.len(), input.len());
            stream.write_all(report.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut response = full(Bytes::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", protocol);
        response
            .headers_mut()
            .insert("content-type", "application/vnd.docker.raw-stream".parse().unwrap());
        response
    }
}

struct OpenLog(watch::Sender<usize>);

impl Drop for OpenLog {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

fn tokio_stream_of(lines: mpsc::Receiver<Bytes>) -> impl futures::Stream<Item = Bytes> + Send {
    futures::stream::unfold(lines, |mut lines| async move {
        lines.recv().await.map(|line| (line, lines))
    })
}

async fn length(request: Request<Incoming>) -> usize {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    length
}

fn full(bytes: Bytes) -> Response<Body> {
    Response::new(Full::new(bytes).boxed_unsync())
}

fn json_answer(value: &Value) -> Response<Body> {
    let mut response = full(value.to_string().into());
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = json_answer(&json!({"message": message}));
    *response.status_mut() = status;
    response
}

fn networks() -> Value {
    let one = |name: &str, id: &str, driver: &str| {
        json!({
            "Name": name, "Id": id, "Driver": driver, "Scope": "local", "Containers": {},
            "Created": "2026-11-22T14:01:49.901273465Z",
        })
    };
    let mut plugin = one("swarmnet-dca", PLUGIN_NETWORK_ID, "swarmnet");
    plugin["Containers"] = json!({
        "85801a681265fa99e9fbeb58522220026380a0765eef2b775724321948c97204": {
            "Name": "webserver.2.ltyrbj39ijcp15y05ea0iqvre", "EndpointID": "5e",
            "MacAddress": "02:42:0a:00:01:06", "IPv4Address": "10.0.1.6/24", "IPv6Address": "",
        },
    });
    json!([
        one("bridge", BRIDGE_ID, "bridge"),
        plugin,
        one("swarmnet-gw", GATEWAY_NETWORK_ID, "swarmnet"),
    ])
}

fn container() -> Value {
    json!({
        "Id": "85801a681265fa99e9fbeb58522220026380a0765eef2b775724321948c97204",
        "HostConfig": {"NetworkMode": "swarmnet-gw"},
        "NetworkSettings": {"Networks": {
            "swarmnet-gw": {"NetworkID": GATEWAY_NETWORK_ID, "IPAddress": "172.31.0.2"},
            "swarmnet-dca": {"NetworkID": PLUGIN_NETWORK_ID, "IPAddress": "10.0.1.6"},
        }},
    })
}

/// A container starts, and is connected to a network.
fn events() -> Bytes {
    let event = |kind: &str, action: &str, id: &str| {
        let attributes = json!({"name": "front", "type": "bridge"});
        json!({
            "Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": attributes},
            "scope": "local", "time": 1, "timeNano": 1
        })
    };
    let lines = [event("container", "start", "c1"), event("network", "connect", "n1")];
    lines.map(|line| format!("{line}\n")).concat().into()
}
