//! `GET /events`: the engine's and the cluster's.

use serde_json::Value;
use swarmnet_model::event::{Event, EventAction, EventKind};

use crate::Bed;
use crate::client::Answer;
use crate::control::{FakeControl, now};

fn event(action: EventAction, seconds: i64) -> Event {
    Event {
        kind: EventKind::Service,
        action,
        id: "s1".to_owned(),
        attributes: [("name".to_owned(), "web".to_owned())].into(),
        time: swarmnet_model::Timestamp(now().0 + seconds * 1_000_000_000),
    }
}

/// `scope type action` of each event.
fn told(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    events.map(|event| ["scope", "Type", "Action"].map(|key| word(&event, key)).join(" ")).collect()
}

#[tokio::test]
async fn a_manager_tells_of_its_engine_and_of_the_cluster_until_the_time_given() {
    let bed = Bed::manager();
    *bed.control.events.lock().unwrap() =
        vec![event(EventAction::Create, -20), event(EventAction::Update, -5)];
    let (since, until) = (now().0 / 1_000_000_000 - 30, now().0 / 1_000_000_000 - 10);
    let answer = bed.client.get(&format!("/events?since={since}&until={until}")).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let mut events = told(&answer);
    events.sort();
    let expected = ["local container start", "local network connect", "swarm service create"];
    assert_eq!(events, expected);
    let path = format!(
        "/events?since={since}&until={until}&filters=%7B%22scope%22%3A%5B%22swarm%22%5D%7D"
    );
    let swarm = bed.client.get(&path).await;
    assert!(told(&swarm).contains(&"swarm service create".to_owned()));
    bed.stop().await;
}

#[tokio::test]
async fn a_worker_tells_of_its_engine_alone_and_wrong_filters_are_refused() {
    let bed = Bed::with(FakeControl::worker());
    let answer = bed.client.get("/events?since=1&until=2").await;
    assert_eq!(told(&answer), ["local container start", "local network connect"]);
    let refusal = bed.client.get("/events?filters=%7B%22zz%22%3A%5B%22a%22%5D%7D").await.refusal();
    assert_eq!(refusal, (400, "Invalid filter 'zz'".to_owned()));
    bed.stop().await;
}
