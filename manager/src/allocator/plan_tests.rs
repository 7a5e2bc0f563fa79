//! Text in, text out: who gets which address and port.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use swarmnet_model::task::NetworkAttachmentSpec;
use swarmnet_model::{EndpointMode, IpamConfig, ServiceId, Task, TaskId};

use super::plan;
use crate::world::{World, port};

/// The plan of a given state; after it nothing is left to do.
fn check(given: &str, expected: Expect) {
    let mut world = World::given(given);
    expected.assert_eq(&world.step(plan));
    assert_eq!(world.step(plan), "", "the plan reached its goal");
}

#[test]
fn a_service_gets_a_vip_and_its_tasks_the_next_addresses() {
    check(
        "network net 10.0.1.0/24
         service web net=net publish=8080:80
         task web.1 t1 - new
         task web.2 t2 - new",
        expect![[r#"
            endpoint web vip net=10.0.1.2/24 port 8080->80/tcp
            allocate t1 net=10.0.1.3/24
            allocate t2 net=10.0.1.4/24
        "#]],
    );
}

#[test]
fn an_automatic_port_is_the_first_free_one_of_its_protocol() {
    check(
        "service a publish=80
         service b publish=81 publish=82/udp
         service c publish=30002:83
         service d publish=84 publish=30003:85@host
         service e publish=86@host",
        expect![[r#"
            endpoint a port 30000->80/tcp
            endpoint b port 30001->81/tcp port 30000->82/udp
            endpoint c port 30002->83/tcp
            endpoint d port 30004->84/tcp port 30003->85/tcp
            endpoint e port 0->86/tcp
        "#]],
    );
}

#[test]
fn without_networks_and_ports_a_task_is_allocated_at_once() {
    check(
        "service web
         task web.1 t1 - new",
        expect![[r#"
            endpoint web
            allocate t1
        "#]],
    );
}

#[test]
fn dnsrr_services_have_no_vip() {
    check(
        "network net 10.0.1.0/24
         service web net=net dnsrr
         task web.1 t1 - new",
        expect![[r#"
            endpoint web
            allocate t1 net=10.0.1.2/24
        "#]],
    );
}

#[test]
fn a_task_on_two_networks_gets_an_address_on_each() {
    check(
        "network a 10.0.1.0/24
         network b 10.0.2.0/24
         service web net=b,a
         task web.1 t1 - new",
        expect![[r#"
            endpoint web vip a=10.0.1.2/24 vip b=10.0.2.2/24
            allocate t1 b=10.0.2.3/24 a=10.0.1.3/24
        "#]],
    );
}

#[test]
fn vips_and_automatic_ports_survive_an_update() {
    let mut world = World::given(
        "network a 10.0.1.0/24
         network b 10.0.2.0/24
         service web net=a publish=80",
    );
    world.step(plan);
    world.edit("web", |service| {
        service.spec.endpoint.ports.insert(0, port("443"));
        service.spec.task.networks = World::given("service x net=b,a").tables.services
            [&ServiceId::from_text("x")]
            .spec
            .task
            .networks
            .clone();
    });
    expect![[r#"
        endpoint web vip a=10.0.1.2/24 vip b=10.0.2.2/24 port 30001->443/tcp port 30000->80/tcp
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_port_that_is_asked_for_no_more_is_free_in_the_same_plan() {
    let mut world = World::given("service a publish=80");
    world.step(plan);
    world.edit("a", |service| service.spec.endpoint.ports.clear());
    world.line("service b publish=80");
    expect![[r#"
        endpoint a
        endpoint b port 30000->80/tcp
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn an_exhausted_network_is_explained_on_the_task_at_once() {
    check(
        "network net 10.0.1.0/29
         service web net=net
         task web.1 t1 - new
         task web.2 t2 - new
         task web.3 t3 - new
         task web.4 t4 - new
         task web.5 t5 - new",
        expect![[r#"
            endpoint web vip net=10.0.1.2/29
            allocate t1 net=10.0.1.3/29
            allocate t2 net=10.0.1.4/29
            allocate t3 net=10.0.1.5/29
            allocate t4 net=10.0.1.6/29
            explain t5: : no available IPv4 addresses on this network's address pools: net (net)
        "#]],
    );
}

#[test]
fn an_address_goes_to_the_waiting_task_when_its_holder_has_ended() {
    let mut world = World::given(
        "network net 10.0.1.0/29
         service web net=net
         task web.1 t1 n1 running address=10.0.1.3
         task web.2 t2 n1 running address=10.0.1.4
         task web.3 t3 n1 running address=10.0.1.5
         task web.4 t4 n1 running desired=shutdown address=10.0.1.6
         task web.5 t5 - new",
    );
    expect![[r#"
        endpoint web vip net=10.0.1.2/29
        explain t5: : no available IPv4 addresses on this network's address pools: net (net)
    "#]]
    .assert_eq(&world.step(plan));
    world.report("t4", "shutdown");
    expect![[r#"
        allocate t5 net=10.0.1.6/29
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_service_without_a_vip_keeps_its_tasks_waiting() {
    check(
        "network net 10.0.1.0/30
         service a net=net dnsrr
         task a.1 t1 n1 running address=10.0.1.2
         service b net=net publish=80
         task b.1 t2 - new",
        expect![[r#"
            endpoint a
            explain t2: : no available IPv4 addresses on this network's address pools: net (net)
        "#]],
    );
}

#[test]
fn the_address_of_an_ended_task_rests() {
    check(
        "network net 10.0.1.0/24
         service web net=net dnsrr endpoint
         task web.1 t1 n1 failed address=10.0.1.2
         task web.1 t2 - new at=1",
        expect![[r#"
            allocate t2 net=10.0.1.3/24
        "#]],
    );
}

#[test]
fn a_named_port_of_another_service_is_never_taken_over() {
    check(
        "service a publish=80:80 endpoint
         service b publish=80:8080
         task b.1 t1 - new",
        expect![[r#"
            explain t1: : port '80' is already in use by service 'a' (a) as an ingress port
        "#]],
    );
}

#[test]
fn a_removed_service_holds_neither_ports_nor_addresses() {
    check(
        "network net 10.0.1.0/30
         service a publish=80:80 net=net removed
         service b publish=80:8080 net=net",
        expect![[r#"
            endpoint b vip net=10.0.1.2/30 port 80->8080/tcp
        "#]],
    );
}

#[test]
fn a_task_wished_to_end_gets_nothing() {
    check(
        "network net 10.0.1.0/24
         service web net=net dnsrr endpoint
         task web.1 t1 - new desired=shutdown",
        expect![""],
    );
}

#[test]
fn the_automatic_range_ends_with_an_explanation() {
    let mut text = String::new();
    for number in 30_000..=32_767 {
        text += &format!("service s{number} publish={number}:80 endpoint\n");
    }
    text += "service late publish=80\n task late.1 t1 - new";
    check(
        &text,
        expect![[r#"
            explain t1: : no free port is left in 30000-32767 for tcp
        "#]],
    );
}

/// Tasks of one service, named by their slot.
fn tasks(service: &str, slots: std::ops::RangeInclusive<u32>) -> String {
    slots.map(|slot| format!("task {service}.{slot} {service}{slot} - new\n")).collect()
}

fn allocated(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("allocate")).count()
}

#[test]
fn a_class_c_subnet_holds_250_tasks_of_three_services() {
    let mut given = String::from("network net 10.0.1.0/24\n");
    for (service, count) in [("a", 100), ("b", 100), ("c", 51)] {
        given += &format!("service {service} net=net\n{}", tasks(service, 1..=count));
    }
    let mut world = World::given(&given);
    let text = world.step(plan);
    assert_eq!(allocated(&text), 250);
    assert_eq!(text.matches("vip net=").count(), 3);
    let waiting =
        "explain c9: : no available IPv4 addresses on this network's address pools: net (net)";
    assert_eq!(text.lines().last(), Some(waiting), "253 addresses besides the gateway's");
    let addresses: BTreeSet<_> = world
        .tables
        .tasks
        .values()
        .flat_map(|task| task.attachments.iter().map(|held| held.address.ip()))
        .collect();
    assert_eq!(addresses.len(), 250, "each task has its own");
}

#[test]
fn ten_thousand_tasks_are_allocated_again_and_again() {
    let mut given = String::from("network net 10.1.0.0/16\nservice web net=net\n");
    given += &tasks("web", 1..=10_000);
    let mut world = World::given(&given);
    assert_eq!(allocated(&world.step(plan)), 10_000);
    for slot in 1..=5_000 {
        world.tables.tasks.remove(&TaskId::from_text(format!("web{slot}")));
    }
    for line in tasks("web", 10_001..=15_000).lines() {
        world.line(line);
    }
    assert_eq!(allocated(&world.step(plan)), 5_000);
    assert_eq!(world.step(plan), "", "nothing is left to do");
}

#[test]
fn tasks_and_vips_keep_to_the_users_range() {
    let mut world = World::given(
        "network net 10.0.1.0/24
         service web net=net
         task web.1 t1 - new
         task web.2 t2 - new
         task web.3 t3 - new
         task web.4 t4 - new",
    );
    let mut network = world.network("net");
    network.subnet.range = Some("10.0.1.64/30".parse().unwrap());
    let auxiliary = [("router".to_owned(), [10, 0, 1, 66].into())].into();
    network.spec.ipam = vec![IpamConfig { auxiliary, ..IpamConfig::default() }];
    world.tables.networks.insert(network.id.clone(), network.into());
    expect![[r#"
        endpoint web vip net=10.0.1.64/24
        allocate t1 net=10.0.1.65/24
        allocate t2 net=10.0.1.67/24
        explain t3: : no available IPv4 addresses on this network's address pools: net (net)
        explain t4: : no available IPv4 addresses on this network's address pools: net (net)
    "#]]
    .assert_eq(&world.step(plan));
}

fn networks(of: &str) -> Vec<NetworkAttachmentSpec> {
    let world = World::given(&format!("service x net={of}"));
    world.tables.services[&ServiceId::from_text("x")].spec.task.networks.clone()
}

#[test]
fn a_network_that_is_left_gives_its_vip_back_and_the_others_keep_theirs() {
    let mut world = World::given(
        "network a 10.0.1.0/24
         network b 10.0.2.0/30
         service web net=a,b",
    );
    world.step(plan);
    world.edit("web", |service| service.spec.task.networks = networks("a"));
    world.line("service other net=b");
    // In the order of ids: what one gives back is free for the other in the next plan.
    world.step(plan);
    world.step(plan);
    let vips = |id: &str| {
        let service = &world.tables.services[&ServiceId::from_text(id)];
        let vips = &service.endpoint.as_ref().unwrap().vips;
        vips.iter().map(|vip| format!("{} {}", vip.network_id, vip.address)).collect::<Vec<_>>()
    };
    assert_eq!(vips("web"), ["a 10.0.1.2/24"]);
    assert_eq!(vips("other"), ["b 10.0.2.2/30"]);
}

#[test]
fn the_endpoint_mode_gives_vips_back_and_takes_them_again() {
    let mut world = World::given("network net 10.0.1.0/24\n service web net=net");
    assert_eq!(world.step(plan), "endpoint web vip net=10.0.1.2/24\n");
    world.edit("web", |service| service.spec.endpoint.mode = EndpointMode::Dnsrr);
    assert_eq!(world.step(plan), "endpoint web\n");
    world.edit("web", |service| service.spec.endpoint.mode = EndpointMode::Vip);
    assert_eq!(world.step(plan), "endpoint web vip net=10.0.1.2/24\n");
}

#[test]
fn a_task_that_lacks_one_address_of_two_takes_none() {
    check(
        "network wide 10.0.1.0/29
         network tight 10.0.2.0/30
         service a net=tight dnsrr
         task a.1 t1 n1 running address=10.0.2.2
         service b net=wide,tight dnsrr
         task b.1 t2 - new
         service c net=wide dnsrr
         task c.1 t3 - new
         task c.2 t4 - new
         task c.3 t5 - new
         task c.4 t6 - new",
        expect![[r#"
            endpoint a
            endpoint b
            endpoint c
            explain t2: : no available IPv4 addresses on this network's address pools: tight (tight)
            allocate t3 wide=10.0.1.3/29
            allocate t4 wide=10.0.1.4/29
            allocate t5 wide=10.0.1.5/29
            allocate t6 wide=10.0.1.6/29
        "#]],
    );
}

#[test]
fn aliases_go_with_the_address() {
    let mut world = World::given(
        "network net 10.0.1.0/24
         service web net=net dnsrr
         task web.1 t1 - new",
    );
    let id = TaskId::from_text("t1");
    let mut task = Task::clone(&world.tables.tasks[&id]);
    task.spec.networks[0].aliases = vec!["db".to_owned(), "store".to_owned()];
    world.tables.tasks.insert(id.clone(), task.into());
    world.step(plan);
    assert_eq!(world.tables.tasks[&id].attachments[0].aliases, ["db", "store"]);
}
