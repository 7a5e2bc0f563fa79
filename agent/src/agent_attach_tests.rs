//! Plain containers: the desk and the follower with managers that the test plays.

use swarmnet_model::container::DnsConfig;
use swarmnet_model::view::{Backend, BackendState};

use super::*;
use crate::engine::PlainContainer;

const SHORT: &str = "0123456789ab";
const ENGINE_NETWORK: &str = "front.net";

fn request(id: &str) -> AttachRequest {
    let wanted = WantedAttachment {
        network: "net".to_owned(),
        address: None,
        aliases: vec!["cache".to_owned()],
    };
    AttachRequest {
        id: TaskId::from_text(id),
        name: "c1".to_owned(),
        networks: vec![wanted],
        gateway: false,
        dns: DnsConfig::default(),
    }
}

fn known(id: &str, reported: bool) -> (ItemKey, Item) {
    let mut attachment = attachment(&request(id).networks[0]);
    attachment.aliases.extend(reported.then(|| SHORT.to_owned()));
    let backend = Backend {
        task_id: TaskId::from_text(id),
        task_name: "c1".to_owned(),
        service_id: None,
        node_id: NodeId::from_text("n1"),
        state: BackendState::Active,
        attachments: vec![attachment],
        gateway: None,
    };
    (ItemKey::Backend(backend.task_id.clone()), Item::Backend(backend))
}

fn container() -> PlainContainer {
    PlainContainer {
        id: SHORT.repeat(5),
        name: "c1".to_owned(),
        running: true,
        endpoints: vec![(ENGINE_NETWORK.to_owned(), [10, 0, 1, 5].into())],
        has_own_resolv_conf: true,
    }
}

async fn asked(manager: &Manager, what: &str, is: impl Fn(&AttachCall) -> bool) {
    hears(&manager.0.asked, what, |all| all.iter().any(&is)).await;
}

fn is_detach(call: &AttachCall) -> bool {
    matches!(call, AttachCall::Detach { .. })
}

#[tokio::test]
async fn an_attachment_is_answered_when_the_node_knows_it_and_reported_once_its_container_is_there()
{
    let stage = stage();
    let agent = stage.agent();
    let messages = stage.managers[1].session(0).await;
    messages.send(message("s", &full(1, vec![network()]))).await.unwrap();
    agent.ready().await;
    let wanted = request("a");
    let attach = agent.attach(&wanted);
    let tell = async {
        asked(&stage.managers[1], "attach", |c| matches!(c, AttachCall::Attach { .. })).await;
        let update = increment(2, vec![known("a", false)]);
        messages.send(message("s", &update)).await.unwrap();
    };
    let (attached, ()) = tokio::join!(attach, tell);
    let attached = attached.unwrap();
    assert!(stage.engine.show().contains("network net"), "the engine network is there");
    stage.engine.put_plain(container());
    drop(attached);
    asked(
        &stage.managers[1],
        "report",
        |call| matches!(call, AttachCall::Report { name, running: true, .. } if name == "c1"),
    )
    .await;
    let told = stage.managers[1].0.asked.borrow().clone();
    assert!(!told.iter().any(is_detach), "{told:?}");
    agent.stop().await;
}

#[tokio::test]
async fn a_container_that_is_gone_gives_its_addresses_back() {
    let stage = stage();
    let agent = stage.agent();
    let messages = stage.managers[1].session(0).await;
    let items = vec![network(), known("a", true)];
    messages.send(message("s", &full(1, items))).await.unwrap();
    asked(&stage.managers[1], "detach", is_detach).await;
    agent.stop().await;
}

#[tokio::test]
async fn leaving_takes_plain_containers_off_our_networks() {
    let stage = stage();
    let agent = stage.agent();
    let messages = stage.managers[1].session(0).await;
    let items = vec![network(), known("a", true), assigned(DesiredState::Running)];
    stage.engine.put_plain(PlainContainer {
        endpoints: vec![
            (ENGINE_NETWORK.to_owned(), [10, 0, 1, 5].into()),
            ("net".to_owned(), [10, 0, 1, 6].into()),
        ],
        ..container()
    });
    messages.send(message("s", &full(1, items))).await.unwrap();
    stage.managers[1].reaches(&TaskId::from_text("web-1"), TaskState::Running).await;
    agent.leave(Duration::from_secs(60)).await.unwrap();
    assert!(stage.engine.take_log().contains(&format!("disconnect {} id-net", SHORT.repeat(5))));
    assert!(!stage.engine.show().contains("network net"));
}
