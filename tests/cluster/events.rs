//! `docker events` on a manager and on a worker.

use crate::lab::{Lab, assert_contains, wait_for};

const FORMAT: &str = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{json .Actor.Attributes}}";

/// Events of the past, from a time to now.
fn events(lab: &Lab, host: &str, since: &str, filters: &[&str]) -> String {
    let until = now(lab);
    let filters = filters.iter().flat_map(|filter| ["--filter", *filter]);
    let events = ["docker", "events", "--since", since, "--until", &until, "--format", FORMAT];
    lab.ok(host, &events.into_iter().chain(filters).collect::<Vec<_>>())
}

fn now(lab: &Lab) -> String {
    lab.sh("master", "date +%s.%N").stdout.trim().to_owned()
}

pub(crate) fn tell_what_happens_to_the_cluster(lab: &Lab) {
    lab.form();
    let start = now(lab);
    lab.docker("network create --driver overlay front");
    lab.create("--name web --network front --env A=1 whoami");
    lab.docker("service scale --detach web=2");
    lab.docker("service update --quiet --env-add A=2 web");
    lab.docker("node update --availability pause node02");
    lab.docker("node update --availability active node02");
    lab.docker("service rm web");
    wait_for("the network can be removed", || {
        lab.on("master", &["docker", "network", "rm", "front"]).ok()
    });
    let swarm = || events(lab, "master", &start, &["scope=swarm"]);
    wait_for("the last event", || swarm().contains("network remove front"));
    let told = swarm();
    for part in [
        "network create front ",
        "service create web ",
        r#""replicas.new":"2","replicas.old":"1""#,
        r#""updatestate.new":"updating""#,
        r#""updatestate.new":"completed","updatestate.old":"updating""#,
        r#"node update node02 {"availability.new":"pause","availability.old":"active""#,
        "service remove web ",
    ] {
        assert_contains(&told, part);
    }
    let created = told.find("service create web").unwrap();
    assert!(created < told.find("service remove web").unwrap(), "in order");
    assert!(!told.contains("container "), "{told}");
    let nodes = events(lab, "master", &start, &["type=node", "event=update"]);
    assert!(nodes.lines().count() >= 2, "{nodes}");
    assert!(nodes.lines().all(|line| line.starts_with("node update node02")), "{nodes}");
    // The engine's own events are there too, and know the overlay by its name only.
    let all: String =
        ["master", "node01", "node02"].map(|host| events(lab, host, &start, &[])).concat();
    assert_contains(&all, "container start web.");
    assert_contains(&all, "network connect front ");
    assert!(!all.contains("swarmnet_gateway") && !all.contains("front."), "{all}");
    assert!(!events(lab, "node01", &start, &[]).contains("service "), "a worker knows no services");
}

pub(crate) fn are_followed_as_they_come(lab: &Lab) {
    lab.form();
    let line = "timeout 60 docker events --filter type=service --format '{{.Action}} {{.Actor.Attributes.name}}' \
                | head -2";
    let follower = lab.spawn("master", &["sh", "-c", line]);
    // The stream begins when the server has answered; an event before that would be missed.
    wait_for("two events are told", {
        let mut follower = Some(follower);
        move || {
            lab.docker("service create --quiet --detach --name told whoami");
            lab.docker("service rm told");
            let ended = follower.as_mut().unwrap().try_wait().unwrap().is_some();
            if ended {
                let output = follower.take().unwrap().wait_with_output().unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                assert_eq!(text.lines().count(), 2, "{text}");
                assert!(text.lines().all(|line| line.ends_with(" told")), "{text}");
            }
            ended
        }
    });
}
