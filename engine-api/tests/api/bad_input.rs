//! Bad requests get a clear answer and change nothing.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::{Bed, DEADLINE};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

const TEXT: [(&str, &str); 1] = [("content-type", "text/plain")];

#[tokio::test]
async fn versions_out_of_range_are_refused_in_their_own_way() {
    let bed = Bed::manager();
    let old = bed.client.get("/v1.1/nodes").await;
    assert_eq!(old.status.as_u16(), 400);
    assert!(old.header("content-type").starts_with("text/plain"));
    assert!(old.text().starts_with("client version 1.1 is too old."), "{}", old.text());
    let new = bed.client.get("/v1.99/nodes").await;
    assert_eq!(
        new.refusal(),
        (400, "client version 1.99 is too new. Maximum supported API version is 1.44".to_owned())
    );
    assert_eq!(new.header("api-version"), "1.44");
    assert_eq!(bed.client.get("/v1.24/nodes").await.status.as_u16(), 200);
    bed.stop().await;
}

#[tokio::test]
async fn bodies_of_the_wrong_type_or_form_are_refused() {
    let bed = Bed::manager();
    let path = "/v1.41/services/create";
    let deep = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let post = |headers: &'static [(&str, &str)], body: String| {
        let client = &bed.client;
        async move { client.send(Method::POST, path, headers, &body).await.refusal() }
    };
    let (status, message) = post(&[], "{}".to_owned()).await;
    assert_eq!(status, 400);
    assert!(message.starts_with("malformed Content-Type header ("), "{message}");
    let text = "unsupported Content-Type header (text/plain): must be 'application/json'";
    assert_eq!(post(&TEXT, "{}".to_owned()).await, (400, text.to_owned()));
    for (body, text) in [
        ("{\"Name\":".to_owned(), "invalid JSON: got EOF while reading request body"),
        ("{}{}".to_owned(), "unexpected content after JSON"),
        ("{\"name\":7}".to_owned(), "invalid JSON: Name: invalid type: integer `7`"),
        ("[]".to_owned(), "invalid JSON: invalid type: sequence"),
        (deep(129), "invalid JSON: recursion limit exceeded"),
        (deep(100_000), "invalid JSON: recursion limit exceeded"),
        ("{\"Mode\":{\"Replicated\":{\"Replicas\":-1}}}".to_owned(), "invalid JSON: Mode.R"),
    ] {
        let (status, message) = post(&JSON, body).await;
        assert_eq!(status, 400, "{message}");
        assert!(message.starts_with(text), "{message}");
    }
    assert!(bed.control.calls.lock().unwrap().is_empty());
    bed.stop().await;
}

/// What the managers never hear of; their own refusals are tried on a cluster.
#[tokio::test]
async fn a_wrong_field_of_any_spelling_is_named_by_create_and_update() {
    let bed = Bed::manager();
    let web = json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "a"}}});
    assert_eq!(bed.client.post("/services/create", &web).await.status.as_u16(), 201);
    let index = bed.client.get("/services/web").await.json()["Version"]["Index"].clone();
    let update = format!("/services/web/update?version={index}");
    for (body, text) in [
        (json!({"LABELS": {"a": 1}}), "invalid JSON: Labels.a: invalid type: integer `1`"),
        (json!({"tasktemplate": 1}), "invalid JSON: TaskTemplate: invalid type: integer `1`"),
        (
            json!({"taskTemplate": {"containerspec": {"ENV": [true]}}}),
            "invalid JSON: TaskTemplate.ContainerSpec.Env[0]: invalid type: boolean `true`",
        ),
        (
            json!({"TaskTemplate": {"ContainerSpec": {"mounts": [{"readonly": "yes"}]}}}),
            "invalid JSON: TaskTemplate.ContainerSpec.Mounts[0].ReadOnly: invalid type: string",
        ),
        (
            json!({"endpointspec": {"PORTS": [{}, {"publishedport": -1}]}}),
            "invalid JSON: EndpointSpec.Ports[1].PublishedPort: invalid value: integer `-1`",
        ),
        (
            json!({"updateconfig": {"PARALLELISM": 0.5}}),
            "invalid JSON: UpdateConfig.Parallelism: invalid type: floating point `0.5`",
        ),
    ] {
        for path in ["/services/create", &update] {
            let (status, message) = bed.client.post(path, &body).await.refusal();
            assert_eq!(status, 400, "{path}: {message}");
            assert!(message.starts_with(text), "{path}: {message}");
        }
    }
    for (query, text) in [
        ("", "invalid service version ''"),
        ("?version=-1", "invalid service version '-1'"),
        ("?version=1&registryAuthFrom=zz", "invalid registryAuthFrom 'zz'"),
        ("?version=1&rollback=zz", "unrecognized rollback option zz"),
    ] {
        let path = format!("/services/web/update{query}");
        let (status, message) = bed.client.post(&path, &web).await.refusal();
        assert_eq!(status, 400, "{query}: {message}");
        assert!(message.starts_with(text), "{query}: {message}");
    }
    assert_eq!(bed.control.calls.lock().unwrap().len(), 1, "only the service that was made");
    bed.stop().await;
}

#[tokio::test]
async fn a_body_over_four_mebibytes_is_refused_unread() {
    let bed = Bed::manager();
    let body = "x".repeat((4 << 20) + 1);
    let answer = bed.client.send(Method::POST, "/services/create", &JSON, &body).await;
    assert_eq!(answer.refusal(), (413, "request body too large".to_owned()));
    // The same without a length: chunks that never end.
    let mut stream = bed.client.connect().await;
    let head = "POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    while sent < 65 << 16 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
        sent += 1 << 16;
    }
    let mut answer = vec![0; 12];
    timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    assert!(bed.control.calls.lock().unwrap().is_empty());
    bed.stop().await;
}

#[tokio::test]
async fn ids_that_climb_or_hide_lead_nowhere() {
    let bed = Bed::manager();
    for path in
        ["/services/..", "/services/%2e%2e", "/services/a%2fb", "/nodes/a%00b", "/tasks/%ff"]
    {
        let answer = bed.client.get(path).await;
        assert_eq!(answer.refusal(), (404, "page not found".to_owned()), "{path}");
    }
    // Spelled differently it is still our route, not the engine's.
    let networks = bed.client.get("/v1%2e41/%6eetworks").await.text();
    assert!(!networks.contains("swarmnet-gw"), "{networks}");
    bed.stop().await;
}

#[tokio::test]
async fn unknown_routes_and_methods_below_a_swarm_prefix_are_not_found() {
    let bed = Bed::manager();
    let put = bed.client.send(Method::PUT, "/services/web", &[], "").await;
    assert_eq!(put.refusal(), (404, "page not found".to_owned()));
    assert_eq!(bed.client.get("/swarm/nosuch").await.status.as_u16(), 404);
    assert_eq!(bed.client.get("/services/a/b/c").await.status.as_u16(), 404);
    let options = bed.client.send(Method::OPTIONS, "/services", &[], "").await;
    assert_eq!((options.status.as_u16(), options.text().as_str()), (200, ""));
    bed.stop().await;
}

#[tokio::test]
async fn heads_and_queries_are_bounded() {
    let bed = Bed::manager();
    let long = format!(
        "GET /services?filters={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "a".repeat(65_500)
    );
    let answer = bed.client.raw(long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let header =
        format!("GET /_ping HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "a".repeat(1 << 20));
    let answer = bed.client.raw(header.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(bed.client.get("/_ping").await.status.as_u16(), 200);
    bed.stop().await;
}

#[tokio::test]
async fn nonsense_and_smuggling_are_refused() {
    let bed = Bed::manager();
    let both = "POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxx";
    for request in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET /x HTTP/9.9\r\n\r\n", both] {
        let answer = bed.client.raw(request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
    assert!(bed.control.calls.lock().unwrap().is_empty());
    bed.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let bed = Bed::manager();
    let two = "GET /services HTTP/1.1\r\nHost: x\r\n\r\n\
               GET /nodes/nosuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = bed.client.raw(two.as_bytes()).await;
    let first = answer.find("HTTP/1.1 200").expect(&answer);
    let second = answer.find("HTTP/1.1 404").expect(&answer);
    assert!(first < second);
    bed.stop().await;
}

#[tokio::test]
async fn an_upgrade_of_a_swarm_route_is_just_answered() {
    let bed = Bed::manager();
    let headers = [("connection", "Upgrade"), ("upgrade", "tcp")];
    let answer = bed.client.send(Method::GET, "/services", &headers, "").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!([])));
    bed.stop().await;
}
