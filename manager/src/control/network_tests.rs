//! Networks made and removed by calls.

use super::*;
use crate::world::{START, World};

const GIVEN: &str = "
    network ingress 10.0.0.0/24
    network net 10.0.1.0/24";

fn created(edit: impl FnOnce(&mut NetworkSpec)) -> Result<Network, String> {
    let mut spec = NetworkSpec { name: "new".to_owned(), ..NetworkSpec::default() };
    edit(&mut spec);
    match create(&World::given(GIVEN).tables, &spec, START, &mut || 1) {
        Ok(decision) => match decision.changes.as_slice() {
            [Change::CreateNetwork(network)] => Ok(Network::clone(network)),
            other => panic!("not one network: {other:?}"),
        },
        Err(error) => Err(error.to_string()),
    }
}

fn with_option(key: &str, value: &str) -> impl FnOnce(&mut NetworkSpec) {
    let (key, value) = (key.to_owned(), value.to_owned());
    move |spec| {
        spec.options.insert(key, value);
    }
}

#[test]
fn a_network_gets_the_first_free_subnet_and_the_next_vni() {
    let network = created(|_| {}).unwrap();
    assert_eq!(network.subnet.subnet.to_string(), "10.0.2.0/24");
    assert_eq!(network.subnet.gateway.to_string(), "10.0.2.1");
    assert_eq!(network.vni.get(), 4098);
}

#[test]
fn a_named_vni_is_taken_as_it_is() {
    assert_eq!(created(with_option(VNI_OPTION, "77")).unwrap().vni.get(), 77);
}

#[test]
fn a_vni_rests_until_the_tasks_of_its_removed_network_have_stopped() {
    let mut spec = NetworkSpec { name: "gone".to_owned(), ..NetworkSpec::default() };
    let given = format!("{GIVEN}\n network gone 10.0.2.0/24 removed");
    let tables = World::given(&given).tables;
    let vni = |spec: &NetworkSpec| match create(&tables, spec, START, &mut || 1) {
        Ok(decision) => match decision.changes.as_slice() {
            [Change::CreateNetwork(network)] => network.vni.to_string(),
            other => panic!("not one network: {other:?}"),
        },
        Err(error) => error.message,
    };
    assert_eq!(vni(&spec), "4099", "the name is free, the VNI 4098 is not");
    spec.options.insert(VNI_OPTION.to_owned(), "4098".to_owned());
    let text =
        "VXLAN identifier 4098 is already in use by network gone, whose last tasks still stop";
    assert_eq!(vni(&spec), text);
}

#[test]
fn vnis_are_unique_and_in_range() {
    for (value, text) in [
        ("4097", "VXLAN identifier 4097 is already in use by network net"),
        ("3", "invalid VXLAN identifier '3': must be 16 to 16777215"),
        ("16777216", "invalid VXLAN identifier '16777216': must be 16 to 16777215"),
        ("x", "invalid VXLAN identifier 'x': must be 16 to 16777215"),
    ] {
        let error = created(with_option(VNI_OPTION, value)).unwrap_err();
        assert!(error.ends_with(text), "{error}");
    }
}

#[test]
fn names_are_unique_and_not_predefined() {
    assert_eq!(
        created(|spec| "net".clone_into(&mut spec.name)).unwrap_err(),
        "network with name net already exists"
    );
    assert_eq!(
        created(|spec| "host".clone_into(&mut spec.name)).unwrap_err(),
        "host is a pre-defined network and cannot be created"
    );
}

#[test]
fn there_is_one_ingress_network_and_it_is_not_attachable() {
    assert_eq!(
        created(|spec| spec.ingress = true).unwrap_err(),
        "rpc error: code = AlreadyExists desc = ingress network (ingress) is already present"
    );
    assert_eq!(
        created(|spec| (spec.ingress, spec.attachable) = (true, true)).unwrap_err(),
        "rpc error: code = InvalidArgument desc = ingress network cannot be attachable"
    );
}

#[test]
fn an_encrypted_network_is_never_made_in_clear() {
    let error = created(with_option(ENCRYPTED_OPTION, "")).unwrap_err();
    assert!(error.starts_with("rpc error: code = Unimplemented"), "{error}");
    assert!(created(with_option(MTU_OPTION, "9000")).is_ok());
    assert!(created(with_option(MTU_OPTION, "big")).is_err());
}

#[test]
fn a_network_in_use_stays() {
    let removed = |more: &str, id: &str| {
        let tables = World::given(&format!("{GIVEN}\n{more}")).tables;
        remove(&tables, &NetworkId::from_text(id))
            .map_or_else(|error| error.to_string(), |_| "removed".to_owned())
    };
    assert_eq!(removed("", "none"), "network none not found");
    assert_eq!(
        removed("service web net=net", "net"),
        "rpc error: code = FailedPrecondition desc = network net is in use by service web (web)"
    );
    let stopping = "service web net=net removed\n task web.1 t1 n1 running desired=remove";
    assert_eq!(removed(stopping, "net"), "removed");
    assert_eq!(
        removed("service web net=net removed\n task web.1 t1 n1 running", "net"),
        "rpc error: code = FailedPrecondition desc = network net is in use by task t1 (web.1)"
    );
    assert_eq!(
        removed("service web publish=80", "ingress"),
        "rpc error: code = FailedPrecondition desc = ingress network cannot be removed because \
         service web depends on it (web)"
    );
    assert_eq!(removed("service web net=net publish=80@host", "ingress"), "removed");
}

#[test]
fn a_refusal_names_the_users_but_not_thousands() {
    let mut given = GIVEN.to_owned();
    for number in 1..=8 {
        given += &format!("\n service s{number} net=net\n task s{number}.1 t{number} n1 running");
    }
    let mut world = World::given(&given);
    let removed =
        |world: &World| remove(&world.tables, &NetworkId::from_text("net")).unwrap_err().message;
    assert_eq!(
        removed(&world),
        "network net is in use by service s1 (s1, s2, s3, s4, s5 and 3 more)"
    );
    for number in 1..=7 {
        world.edit(&format!("s{number}"), |service| service.pending_delete = true);
    }
    world.edit("s8", |service| service.spec.task.networks.clear());
    assert_eq!(
        removed(&world),
        "network net is in use by task t1 (s1.1, s2.1, s3.1, s4.1, s5.1 and 3 more)",
        "tasks that still run count although their services have left the network"
    );
}

#[test]
fn a_removed_network_is_gone_for_calls_and_its_name_is_free() {
    let tables = World::given(&format!("{GIVEN}\n network gone 10.0.2.0/24 removed")).tables;
    let again = remove(&tables, &NetworkId::from_text("gone")).unwrap_err();
    assert_eq!(again.to_string(), "network gone not found");
    let spec = NetworkSpec { name: "gone".to_owned(), ..NetworkSpec::default() };
    assert!(create(&tables, &spec, START, &mut || 1).is_ok());
}

#[test]
fn names_are_checked_as_docker_checks_them() {
    let named = |name: &str| created(|spec| name.clone_into(&mut spec.name)).unwrap_err();
    let invalid = "rpc error: code = InvalidArgument desc = ";
    for (name, text) in [
        ("", "meta: name must be provided"),
        ("a.b", "name must be valid as a DNS name component"),
        ("-a", "name must be valid as a DNS name component"),
        (&"x".repeat(64), "name must be 63 characters or fewer"),
        (&"x".repeat(10_000), "name must be 63 characters or fewer"),
    ] {
        assert_eq!(named(name), format!("{invalid}{text}"));
    }
}

#[test]
fn labels_and_unknown_options_are_stored() {
    let network = created(|spec| {
        spec.labels.insert("tier".to_owned(), "back".to_owned());
        spec.options.insert("com.example.option".to_owned(), "x".to_owned());
    });
    let spec = network.unwrap().spec;
    assert_eq!((spec.labels["tier"].as_str(), spec.options.len()), ("back", 1));
}
