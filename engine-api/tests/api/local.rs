//! The engine's objects where they touch the swarm: networks, containers, info, version.

use serde_json::{Value, json};
use swarmnet_model::{AttachedContainer, Attachment, NetworkId, NodeId, TaskId, Version};

use crate::Bed;
use crate::control::{FakeControl, MASTER, OVERLAY, now};
use crate::engine::{BRIDGE_ID, GATEWAY_NETWORK_ID, PLUGIN_NETWORK_ID};

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|network| network["Id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn networks_of_swarm_and_engine_are_one_list_without_plumbing() {
    let bed = Bed::with(FakeControl::manager().with_local_overlay());
    let list = bed.client.get("/v1.41/networks").await;
    assert_eq!(ids(&list.json()), ["g9ormv5g0d9uvfkfciwd1fn6p", OVERLAY, BRIDGE_ID]);
    for hidden in ["swarmnet", PLUGIN_NETWORK_ID, GATEWAY_NETWORK_ID] {
        assert!(!list.text().contains(hidden), "{hidden}");
    }
    let filtered = bed.client.get("/networks?filters=%7B%22name%22%3A%5B%22dca%22%5D%7D").await;
    assert!(ids(&filtered.json()).contains(&OVERLAY));
    assert!(!ids(&filtered.json()).contains(&"g9ormv5g0d9uvfkfciwd1fn6p"));
    bed.stop().await;
}

#[tokio::test]
async fn a_worker_knows_the_networks_on_its_node_only() {
    let bare = Bed::with(FakeControl::worker());
    assert_eq!(
        bare.client.get("/networks/dca-overlay").await.refusal(),
        (404, "network dca-overlay not found".to_owned())
    );
    bare.stop().await;
    let control = FakeControl::worker().with_local_overlay();
    let bed = Bed::with(control);
    assert_eq!(ids(&bed.client.get("/networks").await.json()), [OVERLAY, BRIDGE_ID]);
    let network = bed.client.get("/networks/dca-overlay").await.json();
    assert_eq!(
        (&network["Id"], &network["Driver"], &network["Scope"]),
        (&json!(OVERLAY), &json!("overlay"), &json!("swarm"))
    );
    assert_eq!(network["Created"], "2026-11-22T14:11:24.952910942Z", "the same as on a manager");
    let containers: Vec<_> = network["Containers"].as_object().unwrap().values().collect();
    assert_eq!(containers[0]["Name"], "webserver.2.ltyrbj39ijcp15y05ea0iqvre");
    let (status, message) = bed.client.delete("/networks/dca-overlay").await.refusal();
    assert_eq!(status, 503, "{message}");
    bed.stop().await;
}

#[tokio::test]
async fn a_network_is_found_by_any_of_its_names_and_plumbing_by_none() {
    let bed = Bed::with(FakeControl::manager().with_local_overlay());
    for reference in [OVERLAY, "dca-overlay", "vby3", PLUGIN_NETWORK_ID] {
        let network = bed.client.get(&format!("/networks/{reference}")).await;
        assert_eq!(network.json()["Id"], OVERLAY, "{reference}");
    }
    for reference in [BRIDGE_ID, "bridge", "ae402ecd"] {
        let network = bed.client.get(&format!("/networks/{reference}")).await;
        assert_eq!(network.json()["Id"], BRIDGE_ID, "{reference}");
    }
    for reference in ["swarmnet-gw", GATEWAY_NETWORK_ID, "swarmnet-dca", "nosuch"] {
        let answer = bed.client.get(&format!("/networks/{reference}")).await;
        assert_eq!(answer.refusal(), (404, format!("network {reference} not found")));
    }
    bed.stop().await;
}

#[tokio::test]
async fn the_engines_own_networks_are_known_in_the_swarm_but_not_listed() {
    let bed = Bed::manager();
    let host = bed.client.get("/networks/host?scope=swarm").await.json();
    assert_eq!((&host["Name"], &host["Scope"]), (&json!("host"), &json!("swarm")));
    assert_eq!(host["Labels"], json!({"com.docker.swarm.predefined": "true"}));
    let id = host["Id"].as_str().unwrap();
    let again = bed.client.get(&format!("/networks/{id}?scope=swarm")).await.json();
    assert_eq!(again, host);
    let listed = bed.client.get("/networks").await.text();
    assert!(!listed.contains(id), "{listed}");
    for unknown in ["none", "nosuch"] {
        let answer = bed.client.get(&format!("/networks/{unknown}?scope=swarm")).await;
        assert_eq!(answer.refusal(), (404, format!("network {unknown} not found")));
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_service_names_the_engines_own_network_by_name_or_id() {
    let bed = Bed::manager();
    let spec = |networks: Value| {
        json!({
            "Name": "web",
            "TaskTemplate": {"ContainerSpec": {"Image": "nginx"}, "Networks": networks},
        })
    };
    let both = spec(json!([{"Target": "host"}, {"Target": "bridge"}]));
    let (status, message) = bed.client.post("/services/create", &both).await.refusal();
    assert_eq!(status, 400);
    assert!(message.contains("only one of bridge and host"), "{message}");
    let one = spec(json!([{"Target": "host"}]));
    let id = bed.client.post("/services/create", &one).await.json()["ID"].clone();
    let path = format!("/services/{}", id.as_str().unwrap());
    let shown = bed.client.get(&path).await.json();
    let target = &shown["Spec"]["TaskTemplate"]["Networks"][0]["Target"];
    let host = bed.client.get("/networks/host?scope=swarm").await.json();
    assert_eq!(*target, host["Id"]);
    bed.stop().await;
}

#[tokio::test]
async fn verbose_inspection_lists_services_and_their_tasks() {
    let bed = Bed::with(FakeControl::manager().with_local_overlay());
    let service = json!({
        "Name": "web",
        "TaskTemplate": {
            "ContainerSpec": {"Image": "nginx"}, "Networks": [{"Target": "dca-overlay"}],
        },
    });
    bed.client.post("/services/create", &service).await;
    let network = bed.client.get("/networks/dca-overlay?verbose=true").await.json();
    let shown = &network["Services"]["web"];
    assert_eq!(shown["VIP"], "10.0.1.2");
    assert_eq!(shown["Tasks"][0]["EndpointIP"], "10.0.1.3");
    assert_eq!(shown["Tasks"][0]["Info"]["Host IP"], "10.20.20.100");
    assert_eq!(network["Peers"], json!([{"Name": "mam76vp6j0ri", "IP": "10.20.20.100"}]));
    bed.stop().await;
}

#[tokio::test]
async fn overlays_go_to_the_managers_and_the_rest_to_the_engine() {
    let bed = Bed::manager();
    let overlay = json!({
        "CheckDuplicate": true, "Name": "n1", "Driver": "overlay", "Scope": "",
        "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Internal": false,
        "Attachable": false, "Ingress": false, "ConfigOnly": false, "ConfigFrom": null,
        "Options": {}, "Labels": {},
    });
    let answer = bed.client.post("/v1.41/networks/create", &overlay).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text());
    let id = answer.json()["Id"].as_str().unwrap().to_owned();
    assert_eq!(answer.json()["Warning"], "");
    assert_eq!(bed.client.delete(&format!("/networks/{id}")).await.status.as_u16(), 204);
    let refused = |body: Value| async {
        let body = body;
        bed.client.post("/networks/create", &body).await.refusal()
    };
    assert_eq!(
        refused(json!({"Name": "bridge", "Driver": "overlay"})).await,
        (403, "bridge is a pre-defined network and cannot be created".to_owned())
    );
    assert_eq!(
        refused(json!({"Name": "dca-overlay", "Driver": "bridge"})).await,
        (409, "network with name dca-overlay already exists".to_owned())
    );
    assert_eq!(
        refused(json!({"Name": "x", "Driver": "swarmnet"})).await,
        (404, "plugin \"swarmnet\" not found".to_owned())
    );
    bed.client.post("/networks/create", &json!({"Name": "mine", "Driver": "bridge"})).await;
    assert_eq!(bed.engine.last("/networks/create").headers["content-type"], "application/json");
    bed.stop().await;
}

#[tokio::test]
async fn a_prune_spares_what_the_agent_made() {
    let bed = Bed::manager();
    let pruned = bed.client.post("/networks/prune", &json!({})).await.json();
    assert_eq!(pruned, json!({"NetworksDeleted": ["old", "dca-overlay"]}));
    let asked = bed.engine.last("/networks/prune").uri;
    assert!(asked.contains("label%21") && asked.contains("swarmnet.network"), "{asked}");
    bed.stop().await;
}

#[tokio::test]
async fn containers_show_swarm_networks_by_their_swarm_names() {
    let bed = Bed::with(FakeControl::worker().with_local_overlay());
    let filter = "%7B%22network%22%3A%7B%22dca-overlay%22%3Atrue%7D%7D";
    let list = bed.client.get(&format!("/v1.41/containers/json?all=1&filters={filter}")).await;
    let wanted = json!({"dca-overlay": {"NetworkID": OVERLAY, "IPAddress": "10.0.1.6"}});
    assert_eq!(list.json()[0]["NetworkSettings"]["Networks"], wanted);
    assert_eq!(list.json()[0]["HostConfig"]["NetworkMode"], "dca-overlay");
    let asked = bed.engine.last("/containers/json").uri;
    assert!(asked.contains("all=1") && asked.contains(PLUGIN_NETWORK_ID), "{asked}");
    let one = bed.client.get("/containers/8580/json").await;
    assert_eq!(one.json()["NetworkSettings"]["Networks"], wanted);
    assert_eq!(one.header("x-engine"), "kept");
    bed.stop().await;
}

fn mode(name: &str) -> Value {
    json!({"Image": "alpine", "HostConfig": {"NetworkMode": name}})
}

fn make_attachable(bed: &Bed) {
    bed.control.edit(|tables| {
        for network in tables.networks.clone().values() {
            let mut network = (**network).clone();
            network.spec.attachable = true;
            tables.networks.insert(network.id.clone(), network.into());
        }
    });
}

#[tokio::test]
async fn a_network_that_is_not_attachable_takes_no_plain_container() {
    let bed = Bed::manager();
    let refused = bed.client.post("/containers/create?name=c1", &mode("dca-overlay")).await;
    assert_eq!(
        refused.refusal(),
        (
            403,
            "Could not attach to network dca-overlay: rpc error: code = PermissionDenied desc = \
             network dca-overlay not manually attachable"
                .to_owned()
        )
    );
    let connect = json!({"Container": "c1"});
    let (status, _) = bed.client.post("/networks/dca-overlay/connect", &connect).await.refusal();
    assert_eq!(status, 403);
    assert!(
        !bed.engine.uris().iter().any(|uri| uri.contains("/create") || uri.contains("/connect"))
    );
    bed.stop().await;
}

#[tokio::test]
async fn a_plain_container_is_made_on_the_engines_network_with_the_managers_address() {
    let bed = Bed::manager();
    make_attachable(&bed);
    let mut body = mode("dca-overlay");
    let endpoint = json!({"dca-overlay": {"Aliases": ["db"]}});
    body["NetworkingConfig"] = json!({"EndpointsConfig": endpoint});
    // The fake engine answers with what it was asked.
    let asked = bed.client.post("/containers/create?name=c1", &body).await.json();
    assert_eq!(
        asked,
        json!({
            "Image": "alpine",
            "HostConfig": {"NetworkMode": "dca-overlay.plugin"},
            "NetworkingConfig": {"EndpointsConfig": {"dca-overlay.plugin": {
                "Aliases": ["db"],
                "IPAMConfig": {"IPv4Address": "10.0.1.7"},
                "DriverOpts": {"swarmnet.task": "t1"},
            }}},
        })
    );
    assert!(bed.engine.uris().iter().any(|uri| uri.contains("/networks/swarmnet_gateway/connect")));
    assert!(bed.control.detached.lock().unwrap().is_empty());
    let connect = json!({"Container": "c1", "EndpointConfig": {"Aliases": ["x"]}});
    let connected = bed.client.post("/networks/dca-overlay/connect", &connect).await.json();
    assert_eq!(connected["EndpointConfig"]["IPAMConfig"], json!({"IPv4Address": "10.0.1.7"}));
    bed.stop().await;
}

#[tokio::test]
async fn a_plain_container_is_a_task_for_those_who_ask_for_attachments() {
    let bed = Bed::manager();
    let container = AttachedContainer {
        id: TaskId::from_text("t9"),
        version: Version(7),
        created_at: now(),
        updated_at: now(),
        node_id: NodeId::from_text(MASTER),
        name: "c1".to_owned(),
        container_id: "2d30".to_owned(),
        running: true,
        attachments: vec![Attachment {
            network_id: NetworkId::from_text(OVERLAY),
            address: "10.0.1.7/24".parse().unwrap(),
            aliases: vec!["db".to_owned()],
        }],
    };
    bed.control.edit(|tables| {
        tables.attached.insert(container.id.clone(), container.into());
    });
    assert_eq!(bed.client.get("/tasks").await.json(), json!([]), "only who asks is told");
    let asked = |more: &str| format!("/tasks?filters=%7B%22runtime%22:[%22attachment%22]{more}%7D");
    let listed = bed.client.get(&asked("")).await.json();
    assert_eq!(listed[0], bed.client.get("/tasks/t9").await.json());
    let spec = json!({
        "NetworkAttachmentSpec": {"ContainerID": "2d30"},
        "Networks": [{"Target": OVERLAY, "Aliases": ["db"]}],
        "ForceUpdate": 0,
        "Runtime": "attachment",
    });
    assert_eq!(listed[0]["Spec"], spec);
    assert_eq!((&listed[0]["NodeID"], &listed[0]["ServiceID"]), (&json!(MASTER), &Value::Null));
    assert_eq!(listed[0]["Status"]["State"], "running");
    assert_eq!(listed[0]["NetworksAttachments"][0]["Addresses"], json!(["10.0.1.7/24"]));
    for (filter, count) in [
        (",%22node%22:[%22master%22]", 1),
        (",%22desired-state%22:[%22shutdown%22]", 0),
        (",%22label%22:[%22x%22]", 0),
        (",%22id%22:[%22t8%22]", 0),
    ] {
        let found = bed.client.get(&asked(filter)).await.json();
        assert_eq!(found.as_array().unwrap().len(), count, "{filter}");
    }
    bed.stop().await;
}

#[tokio::test]
async fn ports_of_plain_containers_on_swarm_networks_are_refused_and_nothing_is_asked() {
    let bed = Bed::manager();
    make_attachable(&bed);
    let mut body = mode("dca-overlay");
    body["HostConfig"]["PortBindings"] = json!({"80/tcp": [{"HostPort": "8080"}]});
    let (status, message) = bed.client.post("/containers/create", &body).await.refusal();
    assert_eq!(status, 501, "{message}");
    assert!(!bed.engine.uris().iter().any(|uri| uri.contains("/create")));
    let body = mode("bridge");
    let passed = bed.client.post("/containers/create?name=c1", &body).await;
    assert_eq!(passed.json(), body, "the engine gets the bytes of the client");
    bed.stop().await;
}

#[tokio::test]
async fn info_and_version_are_the_engines_with_our_part_in_it() {
    let bed = Bed::manager();
    let info = bed.client.get("/v1.41/info").await.json();
    assert_eq!(info["Plugins"]["Network"], json!(["bridge", "overlay"]));
    assert_eq!(info["Warnings"], Value::Null);
    let version = bed.client.get("/version").await.json();
    assert_eq!(
        (&version["ApiVersion"], &version["MinAPIVersion"]),
        (&json!("1.44"), &json!("1.24"))
    );
    assert_eq!(version["Version"], "20.10.24");
    assert_eq!(version["Components"][1]["Name"], "swarmnet");
    bed.control.edit(|tables| {
        let mut second = crate::control::master();
        second.id = NodeId::from_text("second");
        tables.nodes.insert(second.id.clone(), second.into());
    });
    let info = bed.client.get("/info").await.json();
    assert_eq!((&info["Swarm"]["Managers"], &info["Swarm"]["Nodes"]), (&json!(2), &json!(2)));
    let warning = info["Warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("WARNING: Running Swarm in a two-manager configuration."));
    bed.stop().await;
}

#[tokio::test]
async fn cluster_volumes_are_refused_and_others_passed_on() {
    let bed = Bed::manager();
    let cluster = json!({"Name": "v", "ClusterVolumeSpec": {}});
    assert_eq!(bed.client.post("/volumes/create", &cluster).await.status.as_u16(), 501);
    let local = json!({"Name": "v"});
    bed.client.post("/v1.41/volumes/create", &local).await;
    assert_eq!(bed.engine.last("/volumes/create").uri, "/v1.41/volumes/create");
    bed.stop().await;
}
