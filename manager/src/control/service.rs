//! Pure: service calls: create, update, roll back, remove.

use swarmnet_model::{
    CallError, Code, IdSource, JobStatus, PublishMode, Service, ServiceId, ServiceMode,
    ServiceSpec, Tables, Timestamp, UpdateState, UpdateStatus, Version,
};

use super::call::Decision;
use super::validate::check_spec;
use crate::allocator::ports;
use crate::store::Change;

/// Makes a service; its tasks follow.
pub(super) fn create(
    tables: &Tables,
    spec: &ServiceSpec,
    now: Timestamp,
    ids: &mut dyn IdSource,
) -> Result<Decision, CallError> {
    check_spec(spec)?;
    check_name(tables, &spec.name)?;
    check_surroundings(tables, spec, None)?;
    let id = ServiceId::generate(ids);
    let service = Service {
        id: id.clone(),
        version: tables.version,
        spec_version: tables.version,
        created_at: now,
        updated_at: now,
        spec: spec.clone(),
        previous_spec: None,
        endpoint: None,
        update_status: None,
        job: spec.mode.is_job().then_some(JobStatus { iteration: 0, last_execution: now }),
        pending_delete: false,
    };
    Ok(Decision::created(Change::CreateService(Box::new(service)), id))
}

/// Gives the service a new spec. Its update status goes in the same write, so that nobody takes the
/// end of the last update for that of this one. A job is executed again, also by the spec it has.
pub(super) fn update(
    tables: &Tables,
    id: &ServiceId,
    version: Version,
    spec: &ServiceSpec,
    now: Timestamp,
) -> Result<Decision, CallError> {
    let present = find(tables, id)?;
    check_version(present, version)?;
    if spec.name != present.spec.name {
        let message = "renaming services is not supported";
        return Err(CallError::manager(Code::Unimplemented, message));
    }
    if !same_kind(spec.mode, present.spec.mode) {
        let message = "service mode change is not allowed";
        return Err(CallError::manager(Code::Unimplemented, message));
    }
    check_spec(spec)?;
    check_surroundings(tables, spec, Some(id))?;
    let mut service = present.clone();
    if *spec != present.spec {
        service.previous_spec = Some(present.spec.clone());
        service.spec = spec.clone();
    }
    service.update_status = None;
    service.execute_again(now);
    Ok(write(service))
}

/// Swaps the spec with the one before.
pub(super) fn roll_back(
    tables: &Tables,
    id: &ServiceId,
    version: Version,
    now: Timestamp,
) -> Result<Decision, CallError> {
    let present = find(tables, id)?;
    check_version(present, version)?;
    let Some(previous) = &present.previous_spec else {
        let message = format!("service {id} does not have a previous spec");
        return Err(CallError::manager(Code::FailedPrecondition, message));
    };
    check_spec(previous)?;
    check_surroundings(tables, previous, Some(id))?;
    let mut service = present.clone();
    service.spec = previous.clone();
    service.previous_spec = Some(present.spec.clone());
    service.execute_again(now);
    // A job is executed anew, which is no update of running tasks.
    service.update_status = service.job.is_none().then(|| UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at: now,
        completed_at: None,
        message: "manually requested rollback".to_owned(),
    });
    Ok(write(service))
}

/// Marks the service; it goes when its last task has stopped.
pub(super) fn remove(tables: &Tables, id: &ServiceId) -> Result<Decision, CallError> {
    find(tables, id)?;
    Ok(Decision::done(Change::MarkServiceRemoved { id: id.clone() }))
}

fn write(service: Service) -> Decision {
    let expected = service.spec_version;
    Decision::done(Change::UpdateService { service: Box::new(service), expected })
}

/// A service that is being removed is not there any more for callers.
fn find<'a>(tables: &'a Tables, id: &ServiceId) -> Result<&'a Service, CallError> {
    tables
        .services
        .get(id)
        .map(AsRef::as_ref)
        .filter(|service| !service.pending_delete)
        .ok_or_else(|| CallError::not_found("service", id.as_str()))
}

/// Status fields move the version of the object; only a newer spec makes the caller's outdated.
fn check_version(service: &Service, version: Version) -> Result<(), CallError> {
    if (service.spec_version..=service.version).contains(&version) {
        Ok(())
    } else {
        Err(CallError::out_of_sequence())
    }
}

fn check_name(tables: &Tables, name: &str) -> Result<(), CallError> {
    let taken =
        tables.services.values().any(|other| !other.pending_delete && other.spec.name == name);
    if taken {
        let message =
            format!("name conflicts with an existing object: service {name} already exists");
        return Err(CallError::manager(Code::AlreadyExists, message));
    }
    Ok(())
}

/// Checks a spec against the other objects of the cluster.
fn check_surroundings(
    tables: &Tables,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), CallError> {
    for wanted in &spec.task.networks {
        let id = &wanted.network_id;
        let network =
            tables.kept_network(id).ok_or_else(|| CallError::not_found("network", id.as_str()))?;
        if network.spec.ingress {
            let name = &network.spec.name;
            let message =
                format!("Service cannot be explicitly attached to the ingress network \"{name}\"");
            return Err(CallError::invalid(message));
        }
    }
    let publishes = spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress);
    if publishes && tables.ingress_network().is_none() {
        let message = "service needs ingress network, but no ingress network is present";
        return Err(CallError::manager(Code::FailedPrecondition, message));
    }
    ports::check_conflicts(spec, own, tables).map_err(|error| CallError::invalid(error.to_string()))
}

fn same_kind(a: ServiceMode, b: ServiceMode) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
