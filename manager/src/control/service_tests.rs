//! What service calls write, and how they are refused.

use super::*;
use crate::world::{START, World, port, show, spec};

const GIVEN: &str = "
    network ingress 10.0.0.0/24
    network net 10.0.1.0/24
    service web replicas=2 publish=80:80 net=net endpoint
    service old removed publish=81:80";

/// The text of the refusal, or what would be written.
fn text(outcome: Result<Decision, CallError>) -> String {
    match outcome {
        Ok(decision) => show(&decision.changes),
        Err(error) => error.to_string(),
    }
}

fn created(given: &str, edit: impl FnOnce(&mut ServiceSpec)) -> Result<Decision, CallError> {
    let mut wanted = spec("new");
    edit(&mut wanted);
    create(&World::given(given).tables, &wanted, START, &mut || 1)
}

fn updated(
    world: &World,
    version: u64,
    edit: impl FnOnce(&mut ServiceSpec),
) -> Result<Decision, CallError> {
    let id = ServiceId::from_text("web");
    let mut wanted = world.tables.services[&id].spec.clone();
    edit(&mut wanted);
    update(&world.tables, &id, Version(version), &wanted, START)
}

/// The service as an update would leave it.
fn written(decision: Decision) -> Service {
    match decision.changes.as_slice() {
        [Change::UpdateService { service, .. }] => Service::clone(service),
        other => panic!("not one service: {other:?}"),
    }
}

#[test]
fn a_created_service_has_no_endpoint_and_no_update_status() {
    let decision = created(GIVEN, |_| {}).unwrap();
    let [Change::CreateService(service)] = decision.changes.as_slice() else {
        panic!("one service is expected");
    };
    assert_eq!((&service.endpoint, &service.update_status), (&None, &None));
    assert_eq!(decision.reply, swarmnet_model::Reply::Created(service.id.to_string()));
}

#[test]
fn a_name_is_taken_until_its_service_is_removed() {
    assert_eq!(
        text(created(GIVEN, |spec| "web".clone_into(&mut spec.name))),
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: \
         service web already exists"
    );
    assert!(created(GIVEN, |spec| "old".clone_into(&mut spec.name)).is_ok());
}

#[test]
fn a_port_is_taken_until_its_service_is_removed() {
    assert_eq!(
        text(created(GIVEN, |spec| spec.endpoint.ports.push(port("80:8080")))),
        "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'web' \
         (web) as an ingress port"
    );
    assert!(created(GIVEN, |spec| spec.endpoint.ports.push(port("81:8080"))).is_ok());
}

#[test]
fn networks_must_exist_and_not_be_the_ingress_network() {
    let attach = |id: &str| {
        let network = swarmnet_model::task::NetworkAttachmentSpec {
            network_id: swarmnet_model::NetworkId::from_text(id),
            aliases: Vec::new(),
            driver_options: Default::default(),
        };
        text(created(GIVEN, |spec| spec.task.networks.push(network)))
    };
    assert_eq!(attach("nosuch"), "network nosuch not found");
    assert_eq!(
        attach("ingress"),
        "rpc error: code = InvalidArgument desc = Service cannot be explicitly attached to the \
         ingress network \"ingress\""
    );
    assert!(attach("net").contains("CreateService"));
}

#[test]
fn published_ports_need_the_ingress_network() {
    assert_eq!(
        text(created("", |spec| spec.endpoint.ports.push(port("80")))),
        "rpc error: code = FailedPrecondition desc = service needs ingress network, but no \
         ingress network is present"
    );
    assert!(created("", |spec| spec.endpoint.ports.push(port("80:80@host"))).is_ok());
}

#[test]
fn an_update_keeps_the_spec_before_and_resets_the_status() {
    let mut world = World::given(GIVEN);
    world.edit("web", |service| {
        service.update_status = Some(UpdateStatus {
            state: UpdateState::Completed,
            started_at: START,
            completed_at: Some(START),
            message: String::new(),
        });
    });
    let decision = updated(&world, 1, |spec| "nginx:2".clone_into(&mut spec.task.container.image));
    let service = written(decision.unwrap());
    assert_eq!(service.spec.task.container.image, "nginx:2");
    assert_eq!(service.previous_spec.unwrap().task.container.image, "nginx");
    assert_eq!(service.update_status, None);
}

#[test]
fn an_update_to_the_same_spec_keeps_the_one_to_go_back_to() {
    let mut world = World::given(GIVEN);
    world.edit("web", |service| service.previous_spec = Some(spec("before")));
    let service = written(updated(&world, 1, |_| {}).unwrap());
    assert_eq!(service.previous_spec, Some(spec("before")));
}

#[test]
fn only_a_newer_spec_makes_a_version_stale() {
    let mut world = World::given(GIVEN);
    world.edit("web", |service| {
        (service.spec_version, service.version) = (Version(5), Version(9));
    });
    for (version, fits) in [(4, false), (5, true), (7, true), (9, true), (10, false)] {
        let outcome = updated(&world, version, |_| {});
        assert_eq!(outcome.is_ok(), fits, "version {version}");
        if let Err(error) = outcome {
            assert_eq!(error, CallError::out_of_sequence());
        }
    }
}

#[test]
fn renaming_and_another_mode_are_refused() {
    let world = World::given(GIVEN);
    assert_eq!(
        text(updated(&world, 1, |spec| "other".clone_into(&mut spec.name))),
        "rpc error: code = Unimplemented desc = renaming services is not supported"
    );
    assert_eq!(
        text(updated(&world, 1, |spec| spec.mode = ServiceMode::Global)),
        "rpc error: code = Unimplemented desc = service mode change is not allowed"
    );
    let scaled = updated(&world, 1, |spec| spec.mode = ServiceMode::Replicated { replicas: 9 });
    assert!(scaled.is_ok());
}

#[test]
fn a_service_may_keep_its_own_port() {
    let world = World::given(GIVEN);
    assert!(updated(&world, 1, |spec| spec.endpoint.ports.push(port("8443:443"))).is_ok());
}

#[test]
fn a_rollback_swaps_the_specs() {
    let mut world = World::given(GIVEN);
    let id = ServiceId::from_text("web");
    assert_eq!(
        text(roll_back(&world.tables, &id, Version(1), START)),
        "rpc error: code = FailedPrecondition desc = service web does not have a previous spec"
    );
    let mut before = spec("web");
    "nginx:1".clone_into(&mut before.task.container.image);
    world.edit("web", |service| service.previous_spec = Some(before));
    let service = written(roll_back(&world.tables, &id, Version(1), START).unwrap());
    assert_eq!(service.spec.task.container.image, "nginx:1");
    assert_eq!(service.previous_spec.unwrap().task.container.image, "nginx");
    let status = service.update_status.unwrap();
    assert_eq!(status.message, "manually requested rollback");
    assert_eq!(status.state, UpdateState::RollbackStarted);
}

#[test]
fn a_removed_service_is_not_found() {
    let tables = World::given(GIVEN).tables;
    assert_eq!(text(remove(&tables, &ServiceId::from_text("old"))), "service old not found");
    assert_eq!(text(remove(&tables, &ServiceId::from_text("none"))), "service none not found");
    assert!(remove(&tables, &ServiceId::from_text("web")).is_ok());
}
