//! Swarm routes: who may ask what, and what is refused how.

use http::Method;
use serde_json::{Value, json};
use swarmnet_engine_api::LocalState;
use swarmnet_model::{
    Availability, Call, DesiredState, NodeState, ServiceMode, TaskState, TaskStatus,
};

use crate::Bed;
use crate::control::{FakeControl, MASTER, now};

fn service(name: &str, replicas: u64) -> Value {
    json!({
        "Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "nginx"}},
        "Mode": {"Replicated": {"Replicas": replicas}},
    })
}

#[tokio::test]
async fn a_worker_refuses_everything_but_membership() {
    let bed = Bed::with(FakeControl::worker());
    for path in ["/nodes", "/services?status=true", "/tasks", "/secrets", "/configs", "/swarm"] {
        let (status, message) = bed.client.get(path).await.refusal();
        assert_eq!(status, 503, "{path}");
        assert!(message.starts_with("This node is not a swarm manager. Worker nodes"), "{message}");
    }
    let join = json!({"ListenAddr": "0.0.0.0", "RemoteAddrs": ["a"], "JoinToken": "x"});
    let (status, message) = bed.client.post("/swarm/join", &join).await.refusal();
    assert_eq!(status, 503);
    assert!(message.starts_with("This node is already part of a swarm."), "{message}");
    let create = json!({"Name": "xx", "Driver": "overlay"});
    let (status, message) = bed.client.post("/networks/create", &create).await.refusal();
    assert_eq!(status, 403);
    assert!(message.starts_with("Cannot create a multi-host network from a worker"), "{message}");
    let info = bed.client.get("/info").await.json();
    assert_eq!(
        info["Swarm"],
        json!({
            "NodeID": MASTER, "NodeAddr": "10.20.20.100", "LocalNodeState": "active",
            "ControlAvailable": false, "Error": "",
            "RemoteManagers": [{"NodeID": MASTER, "Addr": "10.20.20.100:2377"}],
        })
    );
    bed.stop().await;
}

#[tokio::test]
async fn the_ping_says_how_the_node_stands_to_the_swarm() {
    let bed = Bed::with(FakeControl::outside());
    for (state, is_manager, word) in [
        (LocalState::Inactive, false, "inactive"),
        (LocalState::Pending, false, "pending"),
        (LocalState::Locked, true, "locked"),
        (LocalState::Error, false, "error"),
        (LocalState::Active, false, "active/worker"),
        (LocalState::Active, true, "active/manager"),
    ] {
        let mut node = bed.control.node.lock().unwrap().clone();
        (node.state, node.is_manager) = (state, is_manager);
        *bed.control.node.lock().unwrap() = node;
        let ping = bed.client.send(Method::HEAD, "/_ping", &[], "").await;
        assert_eq!(ping.header("swarm"), word);
        assert_eq!((ping.header("content-length"), ping.header("ostype")), ("0", "linux"));
        assert_eq!(ping.header("cache-control"), "no-cache, no-store, must-revalidate");
        assert_eq!(ping.header("content-type"), "text/plain; charset=utf-8");
    }
    bed.stop().await;
}

#[tokio::test]
async fn init_passes_on_what_the_cli_sends() {
    let bed = Bed::with(FakeControl::outside());
    let sent = json!({
        "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "10.20.20.100", "DataPathAddr": "",
        "DataPathPort": 0, "ForceNewCluster": false,
        "Spec": {
            "Labels": null, "Orchestration": {}, "Raft": {"ElectionTick": 0, "HeartbeatTick": 0},
            "Dispatcher": {}, "CAConfig": {}, "TaskDefaults": {},
            "EncryptionConfig": {"AutoLockManagers": false},
        },
        "AutoLockManagers": false, "Availability": "drain",
        "DefaultAddrPool": ["10.9.3.7/16"], "SubnetSize": 24,
    });
    let answer = bed.client.post("/v1.41/swarm/init", &sent).await;
    assert_eq!(answer.json(), json!(MASTER));
    let inits = bed.control.inits.lock().unwrap().clone();
    assert_eq!(inits[0].advertise_addr, "10.20.20.100");
    assert_eq!(inits[0].availability, Availability::Drain);
    assert_eq!(inits[0].address_pools, ["10.9.0.0/16".parse().unwrap()]);
    bed.stop().await;
}

#[tokio::test]
async fn an_engine_in_a_swarm_of_its_own_is_not_taken_in() {
    let bed = Bed::with(FakeControl::outside());
    "active".clone_into(&mut bed.engine.own_swarm.lock().unwrap());
    let init = json!({"ListenAddr": "0.0.0.0:2377"});
    let (status, message) = bed.client.post("/swarm/init", &init).await.refusal();
    assert_eq!(status, 503);
    assert!(message.contains("docker swarm leave"), "{message}");
    assert!(bed.control.inits.lock().unwrap().is_empty());
    bed.stop().await;
}

#[tokio::test]
async fn an_empty_body_fails_at_the_first_check() {
    let bed = Bed::with(FakeControl::outside());
    let answer = bed.client.send(Method::POST, "/swarm/init", &[], "").await;
    assert_eq!(
        answer.refusal(),
        (400, "invalid ListenAddr \"\": invalid empty address".to_owned())
    );
    let join = json!({"ListenAddr": "0.0.0.0:2377"});
    assert_eq!(
        bed.client.post("/swarm/join", &join).await.refusal(),
        (400, "at least 1 RemoteAddr is required to join".to_owned())
    );
    let join = json!({"ListenAddr": "0.0.0.0", "RemoteAddrs": ["m"], "JoinToken": "SWMTKN-1-x"});
    let wanted = "rpc error: code = InvalidArgument desc = A valid join token is necessary to join \
                  this cluster";
    assert_eq!(bed.client.post("/swarm/join", &join).await.refusal(), (400, wanted.to_owned()));
    assert_eq!(bed.client.send(Method::POST, "/swarm/leave?force=1", &[], "").await.text(), "");
    assert_eq!(*bed.control.leaves.lock().unwrap(), [true]);
    bed.stop().await;
}

#[tokio::test]
async fn tokens_are_rotated_and_settings_kept() {
    let bed = Bed::manager();
    let spec = bed.client.get("/swarm").await.json()["Spec"].clone();
    let path = "/swarm/update?version=3&rotateWorkerToken=true&rotateManagerToken=false";
    assert_eq!(bed.client.post(path, &spec).await.status.as_u16(), 200);
    let calls = bed.control.calls.lock().unwrap().clone();
    let Call::UpdateCluster { version, rotate_worker_token, rotate_manager_token, .. } = &calls[0]
    else {
        panic!("{calls:?}")
    };
    assert_eq!((version.0, *rotate_worker_token, *rotate_manager_token), (3, true, false));
    assert_eq!(bed.client.get("/swarm").await.json()["Spec"], spec);
    let text = |path: &'static str| async { bed.client.post(path, &json!({})).await.refusal().1 };
    assert_eq!(
        text("/swarm/update").await,
        "invalid swarm version '': strconv.ParseUint: parsing \"\": invalid syntax"
    );
    assert_eq!(
        text("/swarm/update?version=3&rotateWorkerToken=zz").await,
        "invalid value for rotateWorkerToken: zz"
    );
    assert_eq!(bed.client.get("/swarm/unlockkey").await.json(), json!({"UnlockKey": ""}));
    bed.stop().await;
}

#[tokio::test]
async fn a_node_is_updated_with_its_whole_spec() {
    let bed = Bed::manager();
    let spec = json!({"Labels": {"dc": "a"}, "Role": "manager", "Availability": "drain"});
    let answer = bed.client.post("/nodes/master/update?version=9", &spec).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""));
    let node = bed.client.get("/nodes/master").await.json();
    assert_eq!(node["Spec"], spec);
    for (path, body, message) in [
        (
            "/nodes/master/update",
            json!({}),
            "invalid node version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        ("/nodes/master/update?version=9", json!({}), "invalid Role: \"\""),
        (
            "/nodes/master/update?version=9",
            json!({"Role": "worker", "Availability": "x"}),
            "invalid Availability: \"x\"",
        ),
    ] {
        assert_eq!(bed.client.post(path, &body).await.refusal(), (400, message.to_owned()));
    }
    let filters = [
        ("{\"role\":{\"manager\":true}}", 1),
        ("{\"role\":[\"worker\"]}", 0),
        ("{\"name\":[\"mas\"],\"node.label\":[\"dc=a\"]}", 1),
        ("{\"node.label\":[\"dc=b\"]}", 0),
        ("{\"membership\":[\"accepted\"]}", 1),
    ];
    for (filter, count) in filters {
        let nodes = bed.client.get(&format!("/nodes?filters={}", encode(filter))).await.json();
        assert_eq!(nodes.as_array().unwrap().len(), count, "{filter}");
    }
    let boss = format!("/nodes?filters={}", encode("{\"role\":[\"boss\"]}"));
    assert_eq!(
        bed.client.get(&boss).await.refusal(),
        (400, "Invalid role filter: 'boss'".to_owned())
    );
    bed.stop().await;
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn the_progress_loop_sees_only_tasks_of_the_present_spec() {
    let bed = Bed::manager();
    bed.client.post("/services/create", &service("web", 2)).await;
    let current = format!(
        "/tasks?filters={}",
        encode("{\"service\":{\"web\":true},\"_up-to-date\":{\"true\":true}}")
    );
    let count = |tasks: Value| tasks.as_array().unwrap().len();
    assert_eq!(count(bed.client.get(&current).await.json()), 2);
    let version = bed.client.get("/services/web").await.json()["Version"]["Index"].clone();
    let path = format!("/services/web/update?version={version}");
    let scaled = bed.client.post(&path, &service("web", 3)).await;
    assert_eq!(scaled.status.as_u16(), 200, "{}", scaled.text());
    assert_eq!(count(bed.client.get(&current).await.json()), 2, "a scale leaves tasks as they are");
    let mut constrained = service("web", 3);
    constrained["TaskTemplate"]["Placement"] = json!({"Constraints": ["node.role==manager"]});
    let path = "/services/web/update?version=99";
    assert_eq!(bed.client.post(path, &constrained).await.status.as_u16(), 200);
    assert_eq!(count(bed.client.get(&current).await.json()), 2, "their node satisfies it");
    constrained["TaskTemplate"]["Placement"] = json!({"Constraints": ["node.role==worker"]});
    bed.client.post(path, &constrained).await;
    assert_eq!(count(bed.client.get(&current).await.json()), 0, "their node does not");
    let mut other = service("web", 3);
    other["TaskTemplate"]["ContainerSpec"]["Image"] = json!("nginx:2");
    bed.client.post(path, &other).await;
    assert_eq!(count(bed.client.get(&current).await.json()), 0);
    assert_eq!(count(bed.client.get("/tasks").await.json()), 2);
    bed.stop().await;
}

#[tokio::test]
async fn updates_are_checked_and_refused_in_dockers_words() {
    let bed = Bed::manager();
    bed.client.post("/services/create", &service("web", 1)).await;
    let spec = service("web", 1);
    for (path, status, message) in [
        (
            "/services/web/update",
            400,
            "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        (
            "/services/web/update?version=99&registryAuthFrom=zz",
            400,
            "invalid registryAuthFrom 'zz'",
        ),
        ("/services/web/update?version=99&rollback=zz", 400, "unrecognized rollback option zz"),
        (
            "/services/web/update?version=1",
            409,
            "rpc error: code = Unknown desc = update out of sequence",
        ),
        ("/services/nosuch/update?version=1", 404, "service nosuch not found"),
    ] {
        let answer = bed.client.post(path, &spec).await;
        assert_eq!(answer.refusal(), (status, message.to_owned()), "{path}");
    }
    let twice = bed.client.post("/services/create", &spec).await.refusal();
    assert_eq!(twice.0, 409);
    assert!(twice.1.ends_with("service web already exists"), "{}", twice.1);
    let rolled = bed.client.post("/services/web/update?version=99&rollback=previous", &spec).await;
    assert_eq!(rolled.status.as_u16(), 400, "there is no previous spec");
    bed.stop().await;
}

#[tokio::test]
async fn a_removed_service_is_gone_at_once() {
    let bed = Bed::manager();
    bed.client.post("/services/create", &service("web", 1)).await;
    let removed = bed.client.delete("/services/web").await;
    assert_eq!((removed.status.as_u16(), removed.text().as_str()), (200, ""));
    assert_eq!(bed.client.get("/services").await.json(), json!([]));
    assert_eq!(bed.client.get("/services/web").await.status.as_u16(), 404);
    assert_eq!(bed.client.get("/tasks").await.json().as_array().unwrap().len(), 1);
    bed.stop().await;
}

#[tokio::test]
async fn replicas_count_only_what_runs_on_nodes_that_are_there() {
    let bed = Bed::manager();
    bed.client.post("/services/create", &service("web", 3)).await;
    let status = |answer: Value| answer[0]["ServiceStatus"].clone();
    let path = "/v1.41/services?status=true";
    let counts = |running| json!({"RunningTasks": running, "DesiredTasks": 3, "CompletedTasks": 0});
    assert_eq!(status(bed.client.get(path).await.json()), counts(3));
    bed.control.edit(|tables| {
        let mut task = (**tables.tasks.values().next().unwrap()).clone();
        task.status.state = TaskState::Failed;
        tables.tasks.insert(task.id.clone(), task.into());
    });
    assert_eq!(status(bed.client.get(path).await.json()), counts(2));
    bed.control.edit(|tables| {
        let mut node = crate::control::master();
        node.status.state = NodeState::Down;
        tables.nodes.insert(node.id.clone(), node.into());
    });
    assert_eq!(status(bed.client.get(path).await.json()), counts(0));
    assert_eq!(status(bed.client.get("/v1.40/services?status=true").await.json()), Value::Null);
    assert_eq!(status(bed.client.get("/v1.41/services").await.json()), Value::Null);
    bed.stop().await;
}

#[tokio::test]
async fn a_global_job_that_failed_for_good_is_not_shown_as_done() {
    let bed = Bed::manager();
    bed.client.post("/services/create", &service("job", 1)).await;
    let fail = |message: &'static str| {
        bed.control.edit(move |tables| {
            let mut service = (**tables.services.values().next().unwrap()).clone();
            service.spec.mode = ServiceMode::GlobalJob;
            tables.services.insert(service.id.clone(), service.into());
            let mut task = (**tables.tasks.values().next().unwrap()).clone();
            task.status = TaskStatus::new(now(), TaskState::Rejected, message);
            task.desired_state = DesiredState::Shutdown;
            tables.tasks.insert(task.id.clone(), task.into());
        });
    };
    let status = async || {
        bed.client.get("/services?status=true").await.json()[0]["ServiceStatus"]["DesiredTasks"]
            .clone()
    };
    fail("preparing");
    assert_eq!(status().await, 1);
    fail(TaskStatus::ENFORCED);
    assert_eq!(status().await, 0, "its node no longer counts");
    bed.stop().await;
}

#[tokio::test]
async fn services_and_tasks_are_filtered() {
    let bed = Bed::manager();
    let mut labelled = service("web", 1);
    labelled["Labels"] = json!({"com.docker.stack.namespace": "st"});
    bed.client.post("/services/create", &labelled).await;
    bed.client.post("/services/create", &service("db", 1)).await;
    for (list, filter, count) in [
        ("services", "{\"name\":[\"w\"]}", 1),
        ("services", "{\"label\":[\"com.docker.stack.namespace=st\"]}", 1),
        ("services", "{\"mode\":[\"global\"]}", 0),
        ("services", "{\"mode\":[\"replicated\",\"global\"]}", 2),
        ("services", "{\"id\":{\"web\":true}}", 0),
        ("tasks", "{\"name\":[\"web.1\"]}", 1),
        ("tasks", "{\"label\":[\"com.docker.stack.namespace=st\"]}", 1),
        ("tasks", "{\"node\":[\"master\"]}", 2),
        ("tasks", "{\"desired-state\":[\"shutdown\"]}", 0),
        ("tasks", "{\"desired-state\":[\"running\"],\"service\":[\"db\"]}", 1),
        ("tasks", "{\"runtime\":[\"plugin\"]}", 0),
    ] {
        let found = bed.client.get(&format!("/{list}?filters={}", encode(filter))).await.json();
        assert_eq!(found.as_array().unwrap().len(), count, "{list} {filter}");
    }
    for (path, filter, status, message) in [
        ("/tasks", "{\"service\":[\"x\"]}", 404, "service x not found"),
        ("/tasks", "{\"node\":[\"x\"]}", 404, "node x not found"),
        ("/tasks", "{\"desired-state\":[\"boss\"]}", 400, "Invalid desired-state filter: 'boss'"),
        ("/services", "{\"zz\":[\"x\"]}", 400, "Invalid filter 'zz'"),
        ("/services", "zz", 400, "invalid filter"),
    ] {
        let answer = bed.client.get(&format!("{path}?filters={}", encode(filter))).await;
        assert_eq!(answer.refusal(), (status, message.to_owned()));
    }
    bed.stop().await;
}

#[tokio::test]
async fn what_this_version_cannot_do_is_refused_and_never_half_done() {
    let bed = Bed::manager();
    bed.client.post("/services/create", &service("web", 1)).await;
    assert_eq!(bed.client.get("/secrets").await.json(), json!([]));
    assert_eq!(
        bed.client.get("/configs?filters=%7B%22name%22%3A%5B%22a%22%5D%7D").await.json(),
        json!([])
    );
    assert_eq!(
        bed.client.get("/secrets/x").await.refusal(),
        (404, "secret x not found".to_owned())
    );
    for path in ["/secrets/create", "/configs/create"] {
        assert_eq!(bed.client.post(path, &json!({"Name": "a"})).await.status.as_u16(), 501);
    }
    assert_eq!(
        bed.client.get("/v1.24/secrets").await.refusal(),
        (400, "GET /secrets requires minimum API version 1.25".to_owned())
    );
    bed.stop().await;
}

#[tokio::test]
async fn services_name_themselves_when_the_user_does_not() {
    let bed = Bed::manager();
    let answer = bed.client.post("/services/create", &service("", 1)).await.json();
    let id = answer["ID"].as_str().unwrap();
    let shown = bed.client.get(&format!("/services/{id}")).await.json();
    let name = shown["Spec"]["Name"].as_str().unwrap();
    assert!(name.contains('_'), "{name}");
    assert_eq!(bed.client.get(&format!("/services/{name}")).await.json()["ID"], id);
    bed.stop().await;
}

#[tokio::test]
async fn network_targets_are_resolved_or_refused() {
    let bed = Bed::manager();
    let with = |network: &str| {
        let mut spec = service("web", 1);
        spec["TaskTemplate"]["Networks"] = json!([{"Target": network}]);
        spec
    };
    for (network, status, message) in [
        ("nosuch", 404, "network nosuch not found"),
        (
            "ingress",
            400,
            "rpc error: code = InvalidArgument desc = Service cannot be explicitly attached to the \
             ingress network \"ingress\"",
        ),
    ] {
        let answer = bed.client.post("/services/create", &with(network)).await;
        assert_eq!(answer.refusal(), (status, message.to_owned()));
    }
    bed.stop().await;
}
