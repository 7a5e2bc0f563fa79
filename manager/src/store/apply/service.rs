//! Pure: writes of services.

use std::sync::Arc;

use swarmnet_model::{
    DesiredState, Service, ServiceEndpoint, ServiceId, ServiceSpec, UpdateStatus, Version, Vip,
};

use super::{Object, Writer, conflict, exists, in_use, missing, replace};
use crate::store::Refused;

impl Writer {
    pub(super) fn create_service(&mut self, service: &Service) -> Result<(), Refused> {
        if self.tables.services.contains_key(&service.id) {
            return Err(exists("service", &service.id));
        }
        self.check_spec(&service.id, &service.spec)?;
        let mut service = service.clone();
        service.created_at = self.now;
        service.spec_version = self.version;
        service.stamp(self.version, self.now);
        self.tables.services.insert(service.id.clone(), Arc::new(service));
        Ok(())
    }

    pub(super) fn update_service(
        &mut self,
        service: &Service,
        expected: Version,
    ) -> Result<(), Refused> {
        let present =
            self.kept_service(&service.id).ok_or_else(|| missing("service", &service.id))?;
        if present.spec_version != expected {
            return Err(conflict("service", &service.id));
        }
        self.check_spec(&service.id, &service.spec)?;
        let mut changed = Service::clone(&present);
        if changed.spec != service.spec || changed.job != service.job {
            changed.spec = service.spec.clone();
            changed.job = service.job;
            changed.spec_version = self.version;
        }
        changed.previous_spec = service.previous_spec.clone();
        changed.update_status = service.update_status.clone();
        self.put_service(changed);
        Ok(())
    }

    /// Names are unique among services that stay; networks exist.
    fn check_spec(&self, id: &ServiceId, spec: &ServiceSpec) -> Result<(), Refused> {
        let namesake =
            self.tables.services.values().any(|other| {
                !other.pending_delete && other.id != *id && other.spec.name == spec.name
            });
        if namesake {
            return Err(exists("service", &spec.name));
        }
        let known = |id| self.tables.kept_network(id).is_some();
        match spec.task.networks.iter().find(|network| !known(&network.network_id)) {
            Some(network) => Err(missing("network", &network.network_id)),
            None => Ok(()),
        }
    }

    /// The endpoint goes with the mark, so that no two services of the tables hold one VIP or port.
    pub(super) fn mark_service_removed(&mut self, id: &ServiceId) -> Result<(), Refused> {
        let present = self.tables.services.get(id).ok_or_else(|| missing("service", id))?;
        let mut changed = Service::clone(present);
        changed.pending_delete = true;
        changed.endpoint = None;
        self.put_service(changed);
        let tasks: Vec<_> = self.tables.tasks_of(id).map(|task| task.id.clone()).collect();
        for task in &tasks {
            self.set_desired_state(task, DesiredState::Remove);
        }
        Ok(())
    }

    pub(super) fn remove_service(&mut self, id: &ServiceId) -> Result<(), Refused> {
        if !self.tables.services.contains_key(id) {
            return Err(missing("service", id));
        }
        if let Some(task) = self.tables.tasks_of(id).next() {
            return Err(in_use("service", id, format!("task {}", task.id)));
        }
        self.tables.services.remove(id);
        Ok(())
    }

    pub(super) fn set_service_endpoint(
        &mut self,
        id: &ServiceId,
        spec_version: Version,
        endpoint: &ServiceEndpoint,
    ) {
        let Some(present) = self.kept_service(id) else {
            return;
        };
        // A plain container may have got one of the addresses since they were chosen.
        let known = |vip: &&Vip| present.endpoint.as_ref().is_some_and(|e| e.vips.contains(*vip));
        let mut new = endpoint.vips.iter().filter(|vip| !known(vip));
        let taken = new.any(|vip| self.attached_has(&vip.network_id, vip.address.ip()));
        if present.spec_version == spec_version && !taken {
            let mut changed = Service::clone(&present);
            changed.endpoint = Some(endpoint.clone());
            self.put_service(changed);
        }
    }

    pub(super) fn set_update_status(
        &mut self,
        id: &ServiceId,
        spec_version: Version,
        status: Option<&UpdateStatus>,
    ) {
        let Some(present) = self.kept_service(id) else {
            return;
        };
        if present.spec_version == spec_version {
            let mut changed = Service::clone(&present);
            changed.update_status = status.cloned();
            self.put_service(changed);
        }
    }

    /// Returns the service unless it is gone or going.
    pub(super) fn kept_service(&self, id: &ServiceId) -> Option<Arc<Service>> {
        self.tables.services.get(id).filter(|service| !service.pending_delete).cloned()
    }

    fn put_service(&mut self, service: Service) {
        let id = service.id.clone();
        replace(&mut self.tables.services, &id, service, (self.version, self.now));
    }
}
