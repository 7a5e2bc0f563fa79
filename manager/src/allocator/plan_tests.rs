//! Text in, text out: who gets which address and port.

use expect_test::{Expect, expect};
use swarmnet_model::ServiceId;

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
            explain t5: : network net has no free address in 10.0.1.0/29
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
        explain t5: : network net has no free address in 10.0.1.0/29
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
            explain t2: : network net has no free address in 10.0.1.0/30
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
