//! Logs of services and tasks over the API.

use std::sync::Arc;

use serde_json::json;
use swarmnet_model::{
    CallError, Code, LogLine, LogOptions, LogSelector, LogSource, NodeId, ServiceId, TaskId,
    Timestamp,
};

use crate::Bed;
use crate::client::Answer;
use crate::control::{FakeControl, MASTER};

const FRAMED: &str = "application/vnd.docker.multiplexed-stream";
const RAW: &str = "application/vnd.docker.raw-stream";

/// A manager with a service `web` of one task; returns the task's id as well.
async fn bed() -> (Bed, ServiceId, TaskId) {
    let bed = Bed::manager();
    let spec = json!({
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": "nginx"}},
        "Mode": {"Replicated": {"Replicas": 1}}
    });
    let id =
        bed.client.post("/services/create", &spec).await.json()["ID"].as_str().unwrap().to_owned();
    let task = bed.control.tables.lock().unwrap().tasks.keys().next().unwrap().clone();
    (bed, ServiceId::from_text(id), task)
}

fn line(service: &ServiceId, task: &TaskId, source: LogSource, text: &str) -> LogLine {
    LogLine {
        node_id: NodeId::from_text(MASTER),
        service_id: service.clone(),
        task_id: task.clone(),
        source,
        time: Timestamp(1_795_356_684_500_000_000),
        attributes: "tier=a".to_owned(),
        text: text.as_bytes().to_vec(),
    }
}

/// Splits frames into (stream, text).
fn frames(answer: &Answer) -> Vec<(u8, String)> {
    let (mut rest, mut frames) = (&answer.body[..], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[4..8].try_into().unwrap());
        let end = 8 + usize::try_from(length).unwrap();
        frames.push((rest[0], String::from_utf8(rest[8..end].to_vec()).unwrap()));
        rest = &rest[end..];
    }
    frames
}

#[tokio::test]
async fn lines_come_one_per_frame_with_details_and_times() {
    let (bed, service, task) = bed().await;
    *bed.control.lines.lock().unwrap() = vec![
        Ok(vec![line(&service, &task, LogSource::Stdout, "one\n")]),
        Ok(vec![
            line(&service, &task, LogSource::Stderr, "two\n"),
            line(&service, &task, LogSource::Stdout, "three\n"),
        ]),
    ];
    let path = "/v1.41/services/web/logs?details=1&stderr=1&stdout=1&tail=5&timestamps=1";
    let answer = bed.client.get(path).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, RAW));
    let keys = format!(
        "2026-11-22T14:11:24.500000000Z com.docker.swarm.node.id={MASTER},\
         com.docker.swarm.service.id={service},com.docker.swarm.task.id={task},tier=a"
    );
    let expected = [(1, "one"), (2, "two"), (1, "three")];
    let expected = expected.map(|(stream, text)| (stream, format!("{keys} {text}\n")));
    assert_eq!(frames(&answer), expected);
    let asked = LogOptions {
        stdout: true,
        stderr: true,
        tail: Some(5),
        timestamps: true,
        details: true,
        ..LogOptions::default()
    };
    let asked = (LogSelector::Service(service), asked);
    assert_eq!(*bed.control.asked_logs.lock().unwrap(), [asked]);
    bed.stop().await;
}

#[tokio::test]
async fn a_task_has_logs_of_its_own_and_may_have_none_yet() {
    let (bed, _, task) = bed().await;
    let answer = bed.client.get(&format!("/tasks/{task}/logs?stdout=1&follow=1")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, FRAMED));
    assert!(answer.body.is_empty());
    let asked = bed.control.asked_logs.lock().unwrap().clone();
    let options = LogOptions { stdout: true, follow: true, ..LogOptions::default() };
    assert_eq!(asked, [(LogSelector::Task(task), options)]);
    bed.stop().await;
}

#[tokio::test]
async fn output_of_a_terminal_is_not_framed() {
    let (bed, service, task) = bed().await;
    bed.control.edit(|tables| {
        let mut edited = (*tables.services[&service]).clone();
        edited.spec.task.container.tty = true;
        tables.services.insert(service.clone(), Arc::new(edited));
    });
    let written = line(&service, &task, LogSource::Stdout, "one\r\n");
    *bed.control.lines.lock().unwrap() = vec![Ok(vec![written])];
    let answer = bed.client.get("/services/web/logs?stdout=1").await;
    assert_eq!((answer.header("content-type"), answer.text()), (RAW, "one\r\n".to_owned()));
    bed.stop().await;
}

#[tokio::test]
async fn what_ends_the_stream_early_is_said_in_it() {
    let (bed, service, task) = bed().await;
    let error = CallError::api(Code::Unavailable, "the manager on this node is stopping");
    *bed.control.lines.lock().unwrap() =
        vec![Ok(vec![line(&service, &task, LogSource::Stdout, "one\n")]), Err(error)];
    let answer = bed.client.get("/services/web/logs?stdout=1").await;
    assert_eq!(answer.status.as_u16(), 200);
    let text = "Error grabbing logs: the manager on this node is stopping\n";
    assert_eq!(frames(&answer), [(1, "one\n".to_owned()), (3, text.to_owned())]);
    bed.stop().await;
}

#[tokio::test]
async fn wrong_requests_for_logs_get_dockers_answers() {
    let (bed, ..) = bed().await;
    for (path, status, text) in [
        ("/services/web/logs", 400, "must specify at least one of 'stdout' or 'stderr'"),
        ("/services/web/logs?stdout=1&tail=-3", 400, "negative tail values not supported"),
        ("/services/nosuch/logs?stdout=1", 404, "service nosuch not found"),
        ("/tasks/nosuch/logs?stdout=1", 404, "task nosuch not found"),
    ] {
        assert_eq!(bed.client.get(path).await.refusal(), (status, text.to_owned()), "{path}");
    }
    bed.stop().await;
    let worker = Bed::with(FakeControl::worker());
    let (status, text) = worker.client.get("/services/web/logs?stdout=1").await.refusal();
    assert_eq!(status, 503);
    assert!(text.starts_with("This node is not a swarm manager. Worker nodes can't"), "{text}");
    worker.stop().await;
}
