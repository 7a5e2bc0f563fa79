//! Objects are shown with exactly the keys and values that Docker's clients are used to.

use serde_json::{Value, json};
use swarmnet_model::Call;

use crate::Bed;
use crate::control::MASTER;

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_service_and_its_task_are_shown_as_docker_shows_them() {
    let bed = Bed::manager();
    let example = fixture(include_str!("../fixtures/service_web.json"));
    let created = bed.client.post("/v1.41/services/create", &example["create"]).await;
    assert_eq!(created.status.as_u16(), 201, "{}", created.text());
    assert_eq!(created.json(), json!({"ID": "svc0000000000000000000011"}));
    assert!(created.body.ends_with(b"}\n"));
    let service = bed.client.get("/v1.41/services/web?insertDefaults=false").await.json();
    assert_eq!(service, example["service"]);
    let tasks = bed.client.get("/v1.41/tasks").await.json();
    assert_eq!(tasks, json!([example["task"]]));
    let task = bed.client.get("/v1.41/tasks/t0011x").await.json();
    assert_eq!(task, example["task"]);
    bed.stop().await;
}

#[tokio::test]
async fn nodes_swarm_networks_and_info_are_shown_as_docker_shows_them() {
    let bed = Bed::manager();
    let example = fixture(include_str!("../fixtures/objects.json"));
    let mut nodes = bed.client.get("/v1.41/nodes").await.json();
    let tls = nodes[0]["Description"].as_object_mut().unwrap().remove("TLSInfo").unwrap();
    assert_eq!(nodes, json!([example["node"]]));
    assert!(tls["TrustRoot"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
    let mut swarm = bed.client.get("/v1.41/swarm").await.json();
    assert_eq!(swarm.as_object_mut().unwrap().remove("TLSInfo").unwrap(), tls);
    assert_eq!(swarm, example["swarm"]);
    let network = bed.client.get("/v1.41/networks/dca-overlay?scope=swarm").await.json();
    assert_eq!(network, example["network"]);
    let mut info = bed.client.get("/v1.41/info").await.json();
    let mut cluster = info["Swarm"].as_object_mut().unwrap().remove("Cluster").unwrap();
    assert_eq!(info["Swarm"], example["info_swarm"]);
    assert_eq!(info["ID"], "HHIN", "the rest is the engine's");
    cluster.as_object_mut().unwrap().remove("TLSInfo");
    let mut without_tokens = example["swarm"].clone();
    without_tokens.as_object_mut().unwrap().remove("JoinTokens");
    assert_eq!(cluster, without_tokens);
    assert!(!bed.client.get("/v1.41/info").await.text().contains("SWMTKN"));
    bed.stop().await;
}

/// Renames every key of the API to another case, leaving the user's own keys alone.
fn odd_case(value: &Value, own_keys: bool) -> Value {
    const MAPS: [&str; 5] = ["Labels", "Options", "DriverOpts", "Sysctls", "CredentialSpec"];
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, inner)| {
                let inner = odd_case(inner, MAPS.contains(&key.as_str()));
                (if own_keys { key.clone() } else { key.to_lowercase() }, inner)
            })
            .collect(),
        Value::Array(list) => list.iter().map(|inner| odd_case(inner, own_keys)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Adds an unknown key to every object of the API.
fn with_unknown_keys(value: &Value) -> Value {
    const MAPS: [&str; 5] = ["Labels", "Options", "DriverOpts", "Sysctls", "CredentialSpec"];
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, inner)| match MAPS.contains(&key.as_str()) && key != "DNSConfig" {
                true => (key.clone(), inner.clone()),
                false => (key.clone(), with_unknown_keys(inner)),
            })
            .chain([("x-of-tomorrow".to_owned(), json!({"a": [1, null]}))])
            .collect(),
        Value::Array(list) => list.iter().map(with_unknown_keys).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[tokio::test]
async fn a_full_spec_comes_back_unchanged_through_any_number_of_updates() {
    let bed = Bed::manager();
    let full = fixture(include_str!("../fixtures/service_full.json"));
    let created = bed.client.post("/v1.44/services/create", &odd_case(&full, false)).await;
    assert_eq!(created.status.as_u16(), 201, "{}", created.text());
    // Its host-mode port cannot be held twice while one task takes the other's place.
    let warned =
        |body: Value| body["Warnings"][0].as_str().is_some_and(|w| w.contains("host port"));
    assert!(warned(created.json()), "{}", created.text());
    let shown = bed.client.get("/v1.44/services/full").await.json();
    assert_eq!(shown["Spec"], full);
    let path = format!("/v1.44/services/full/update?version={}", shown["Version"]["Index"]);
    let updated = bed.client.post(&path, &shown["Spec"]).await;
    assert!(warned(updated.json()), "{}", updated.text());
    let again = bed.client.get("/v1.44/services/full").await.json();
    assert_eq!((&again["Spec"], &again["PreviousSpec"]), (&full, &full));
    // The typed form is the same too: nothing is restarted by an unchanged spec.
    let calls = bed.control.calls.lock().unwrap().clone();
    let [Call::CreateService { spec: first, .. }, Call::UpdateService { spec: Some(second), .. }] =
        calls.as_slice()
    else {
        panic!("{calls:?}");
    };
    assert_eq!(first.task, second.task);
    bed.stop().await;
}

#[tokio::test]
async fn every_field_of_a_full_spec_reaches_the_managers() {
    let bed = Bed::manager();
    let full = fixture(include_str!("../fixtures/service_full.json"));
    bed.client.post("/v1.44/services/create", &full).await;
    let calls = bed.control.calls.lock().unwrap().clone();
    let Call::CreateService { spec, .. } = &calls[0] else { panic!("{calls:?}") };
    let mut typed = spec.clone();
    typed.document = Default::default();
    expect_test::expect_file!["../fixtures/service_full.txt"].assert_debug_eq(&typed);
    bed.stop().await;
}

#[tokio::test]
async fn keys_of_a_newer_api_survive_at_every_level_and_are_named() {
    let bed = Bed::manager();
    let full = with_unknown_keys(&fixture(include_str!("../fixtures/service_full.json")));
    let created = bed.client.post("/v1.44/services/create", &full).await;
    assert_eq!(created.status.as_u16(), 201, "{}", created.text());
    let answer = created.json();
    let warnings: Vec<&str> =
        answer["Warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    for path in [
        "x-of-tomorrow",
        "TaskTemplate.ContainerSpec.x-of-tomorrow",
        "TaskTemplate.ContainerSpec.Mounts[1].BindOptions.x-of-tomorrow",
        "EndpointSpec.Ports[0].x-of-tomorrow",
    ] {
        let wanted = format!("{path} is stored but has no effect");
        assert!(warnings.contains(&wanted.as_str()), "{path}: {warnings:?}");
    }
    let shown = bed.client.get("/v1.44/services/full").await.json();
    assert_eq!(shown["Spec"], full);
    let path = format!("/v1.44/services/full/update?version={}", shown["Version"]["Index"]);
    let updated = bed.client.post(&path, &shown["Spec"]).await;
    assert_eq!(updated.status.as_u16(), 200, "{}", updated.text());
    let again = bed.client.get("/v1.44/services/full").await.json();
    assert_eq!((&again["Spec"], &again["PreviousSpec"]), (&full, &full));
    bed.stop().await;
}

#[tokio::test]
async fn defaults_appear_only_on_request() {
    let bed = Bed::manager();
    let example = fixture(include_str!("../fixtures/service_web.json"));
    bed.client.post("/services/create", &example["create"]).await;
    let bare = bed.client.get("/services/web").await.json();
    assert!(bare["Spec"].get("UpdateConfig").is_none());
    for value in ["true", "1"] {
        let path = format!("/services/web?insertDefaults={value}");
        let spec = bed.client.get(&path).await.json()["Spec"].clone();
        assert_eq!(spec["UpdateConfig"]["Monitor"], json!(5_000_000_000_u64));
        assert_eq!(spec["TaskTemplate"]["RestartPolicy"]["Condition"], "any");
        assert_eq!(
            spec["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"],
            json!(10_000_000_000_u64)
        );
    }
    let version = bare["Version"]["Index"].clone();
    let mut changed = bare["Spec"].clone();
    changed["TaskTemplate"]["ForceUpdate"] = json!(1);
    bed.client.post(&format!("/services/web/update?version={version}"), &changed).await;
    let updated = bed.client.get("/services/web?insertDefaults=true").await.json();
    assert_eq!(updated["Spec"]["UpdateConfig"]["Parallelism"], 1);
    assert_eq!(updated["PreviousSpec"], bare["Spec"], "as it was given");
    let refused = bed.client.get("/services/web?insertDefaults=zz").await.refusal();
    assert_eq!(refused.0, 400);
    assert!(refused.1.starts_with("invalid value for insertDefaults: zz"), "{}", refused.1);
    bed.stop().await;
}

#[tokio::test]
async fn a_node_is_found_by_id_name_full_name_and_prefix() {
    let bed = Bed::manager();
    for reference in [MASTER, "master", "master.docker-dca.example", "mam7"] {
        let node = bed.client.get(&format!("/nodes/{reference}")).await;
        assert_eq!(node.json()["ID"], MASTER, "{reference}");
    }
    assert_eq!(
        bed.client.get("/nodes/nosuch").await.refusal(),
        (404, "node nosuch not found".to_owned())
    );
    bed.stop().await;
}
