//! Pure: whether the placeholders of a spec can mean anything, before there is a task.

use std::collections::BTreeMap;

use super::{Facts, TemplateError, expand_with};
use crate::container::{ContainerSpec, MountKind};
use crate::service::ServiceSpec;

/// A field of a container that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expanding {field} failed: {source}")]
pub struct ExpandError {
    pub field: &'static str,
    pub source: TemplateError,
}

/// Expands every field of a spec as for its first task, on a node that does not exist.
///
/// # Errors
/// The first field that cannot be expanded.
pub fn check(spec: &ServiceSpec) -> Result<(), ExpandError> {
    let facts = Facts {
        service_id: "serviceid",
        service_name: &spec.name,
        service_labels: &spec.labels,
        node_id: "nodeid",
        node_hostname: "nodehostname",
        node_os: "linux",
        node_architecture: "x86_64",
        task_id: "taskid",
        task_name: format!("{}.1.taskid", spec.name),
        task_slot: "1".to_owned(),
    };
    for (field, text) in fields(&spec.task.container) {
        expand_with(text, &facts).map_err(|source| ExpandError { field, source })?;
    }
    Ok(())
}

fn fields(container: &ContainerSpec) -> impl Iterator<Item = (&'static str, &str)> {
    let hostname = container.hostname.iter().map(|text| ("hostname", text.as_str()));
    let env = container.env.iter().map(|text| ("env", text.as_str()));
    let mounts = container.mounts.iter().flat_map(|mount| {
        let paths = [("mount source", &*mount.source), ("mount target", &*mount.target)];
        paths.into_iter().chain(volume(&mount.kind))
    });
    hostname.chain(env).chain(mounts)
}

fn volume(kind: &MountKind) -> impl Iterator<Item = (&'static str, &str)> {
    let (labels, options): (Option<&BTreeMap<_, _>>, _) = match kind {
        MountKind::Volume { labels, driver, .. } => {
            (Some(labels), driver.as_ref().map(|driver| &driver.options))
        }
        MountKind::Bind { .. }
        | MountKind::Tmpfs { .. }
        | MountKind::Image { .. }
        | MountKind::Npipe => (None, None),
    };
    values("volume label", labels).chain(values("volume driver option", options))
}

fn values<'a>(
    field: &'static str,
    map: Option<&'a BTreeMap<String, String>>,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    map.into_iter().flatten().map(move |(_, value)| (field, value.as_str()))
}
