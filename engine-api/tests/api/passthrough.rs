//! What goes to the engine arrives there as it was sent, and comes back as it was answered.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::control::FakeControl;
use crate::{Bed, DEADLINE};

#[tokio::test]
async fn the_path_version_is_clamped_to_what_the_engine_serves() {
    let bed = Bed::manager();
    for (asked, wanted) in [
        ("/v1.44/echo?a=%2F&b", "/v1.41/echo?a=%2F&b"),
        ("/v1.30/images/a%2Fb/json", "/v1.30/images/a%2Fb/json"),
        ("/plugins", "/v1.41/plugins"),
    ] {
        bed.client.get(asked).await;
        assert!(bed.engine.uris().contains(&wanted.to_owned()), "{:?}", bed.engine.uris());
    }
    bed.stop().await;
}

#[tokio::test]
async fn answers_keep_their_headers_but_not_who_answered() {
    let bed = Bed::manager();
    let headers = [("x-registry-auth", "e30="), ("content-type", "application/x-tar")];
    let answer = bed.client.send(Method::POST, "/v1.41/echo", &headers, "some bytes").await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "some bytes"));
    assert_eq!(answer.header("x-engine"), "kept");
    assert_eq!(answer.header("server"), "swarmnet/0.1.0 (linux)");
    assert_eq!(answer.header("api-version"), "1.44");
    let seen = bed.engine.last("/echo");
    assert_eq!(
        (seen.method, &seen.headers["x-registry-auth"]),
        (Method::POST, &"e30=".parse().unwrap())
    );
    assert_eq!(seen.headers["content-length"], "10");
    bed.stop().await;
}

#[tokio::test]
async fn an_upload_of_unknown_length_is_not_limited() {
    let bed = Bed::manager();
    let (sender, chunks) = mpsc::channel::<Bytes>(4);
    let frames = futures::stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(chunk)), chunks))
    });
    let request = Request::post("/v1.41/build?t=x").body(StreamBody::new(frames)).unwrap();
    let upload = async {
        for _ in 0..80 {
            sender.send(Bytes::from(vec![7; 1 << 20])).await.unwrap();
        }
        drop(sender);
    };
    let ((response, _connection), ()) = tokio::join!(bed.client.open(request), upload);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, json!({"bytes": 80 << 20}).to_string());
    assert!(bed.engine.last("/build").headers.get("content-length").is_none());
    bed.stop().await;
}

#[tokio::test]
async fn log_lines_arrive_at_once_and_a_reader_that_leaves_ends_the_stream() {
    let bed = Bed::manager();
    let (sender, lines) = mpsc::channel(4);
    *bed.engine.log_lines.lock().unwrap() = Some(lines);
    let request =
        Request::get("/v1.41/containers/logs/logs?follow=1").body(Full::new(Bytes::new())).unwrap();
    let (response, connection) = bed.client.open(request).await;
    let mut body = response.into_body();
    for line in ["one\n", "two\n"] {
        sender.send(Bytes::from(line)).await.unwrap();
        let frame = timeout(DEADLINE, body.frame()).await.expect("not held back").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), line);
    }
    let mut open = bed.engine.open_logs.subscribe();
    assert_eq!(*open.borrow_and_update(), 1);
    drop((body, connection));
    // No byte moves any more: the engine must notice all the same.
    timeout(DEADLINE, open.wait_for(|open| *open == 0)).await.expect("closed").unwrap();
    bed.stop().await;
}

#[tokio::test]
async fn an_upgraded_connection_is_half_closed_in_both_directions() {
    let bed = Bed::manager();
    for (path, protocol) in [("/v1.41/exec/x/start", "tcp"), ("/session", "h2c")] {
        let request = Request::post(path)
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(b"{\"Tty\":false}")))
            .unwrap();
        let (mut response, _connection) = bed.client.open(request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["upgrade"], protocol);
        assert_eq!(response.headers()["content-type"], "application/vnd.docker.raw-stream");
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        let mut hello = [0; 6];
        timeout(DEADLINE, stream.read_exact(&mut hello)).await.unwrap().unwrap();
        assert_eq!(&hello, b"hello ");
        let input = vec![b'x'; 300_000];
        stream.write_all(&input).await.unwrap();
        stream.shutdown().await.unwrap();
        // Our input has ended, the output is still to come.
        let mut rest = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest, "body=13 input=300000");
    }
    bed.stop().await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_named_and_found_again() {
    let mut bed = Bed::without_engine(FakeControl::manager());
    let (status, message) = bed.client.get("/v1.41/images/json").await.refusal();
    assert_eq!(status, 503);
    let socket = bed.engine_socket.display().to_string();
    assert_eq!(message, format!("Cannot connect to the Docker Engine on this node ({socket})"));
    let ping = bed.client.get("/_ping").await;
    assert_eq!((ping.status, ping.text().as_str()), (StatusCode::OK, "OK"));
    assert_eq!(ping.header("api-version"), "1.44");
    assert_eq!(bed.client.get("/v1.41/nodes").await.status, StatusCode::OK);
    bed.start_engine();
    assert_eq!(bed.client.get("/v1.41/plugins").await.header("x-engine"), "kept");
    let versions = async {
        while bed.client.get("/_ping").await.header("builder-version") != "1" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, versions).await.expect("the engine's version is read once it is back");
    bed.client.get("/v1.44/plugins").await;
    assert!(bed.engine.uris().contains(&"/v1.41/plugins".to_owned()));
    bed.stop().await;
}

#[tokio::test]
async fn info_and_version_are_answered_without_the_engine() {
    let bed = Bed::without_engine(FakeControl::manager());
    let why = format!(
        "Cannot connect to the Docker Engine on this node ({})",
        bed.engine_socket.display()
    );
    let info = bed.client.get("/v1.41/info").await;
    assert_eq!(info.status, StatusCode::OK);
    let info = info.json();
    assert_eq!(info["Swarm"]["LocalNodeState"], "active");
    assert_eq!(info["Swarm"]["ControlAvailable"], true);
    assert!(info["Swarm"]["NodeID"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(info["Warnings"][0].as_str().unwrap().contains(&why), "{}", info["Warnings"]);
    assert!(info["NCPU"].as_u64().unwrap() > 0 && info["MemTotal"].as_u64().unwrap() > 0);
    assert_eq!(info["Containers"], 0);
    let version = bed.client.get("/version").await.json();
    assert_eq!((&version["ApiVersion"], &version["Os"]), (&"1.44".into(), &"linux".into()));
    assert_eq!(version["Components"][0]["Details"]["Engine"], why.as_str());
    bed.stop().await;
}

#[tokio::test]
async fn a_silent_engine_delays_no_swarm_route_and_no_ping() {
    let bed = Bed::without_engine(FakeControl::manager());
    // Accepts into its backlog and never answers, as a stopped process does.
    let _silent = tokio::net::UnixListener::bind(&bed.engine_socket).unwrap();
    let several = async {
        for _ in 0..4 {
            assert_eq!(bed.client.get("/_ping").await.status, StatusCode::OK);
            assert_eq!(bed.client.get("/services").await.status, StatusCode::OK);
        }
    };
    timeout(Duration::from_secs(8), several).await.expect("answers without the engine");
    assert_eq!(bed.client.get("/info").await.status, StatusCode::OK, "having waited");
    let again = async {
        for _ in 0..3 {
            assert_eq!(bed.client.get("/info").await.status, StatusCode::OK, "after a second");
        }
    };
    timeout(Duration::from_secs(8), again).await.expect("known to be silent");
    bed.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_is_cut_when_the_server_stops() {
    let bed = Bed::manager();
    let mut stream = bed.client.connect().await;
    stream
        .write_all(b"POST /v1.41/containers/slow/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let asked = async {
        while !bed.engine.uris().iter().any(|uri| uri.contains("/slow/wait")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, asked).await.unwrap();
    bed.stop().await;
    let mut rest = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
}
