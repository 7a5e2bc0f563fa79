//! Pure: a task and its wiring → the container the engine is asked for.
//!
//! Never a port binding: published ports are served by the data plane. Never a restart policy: a
//! successor is a new task.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount as EngineMount, MountBindOptions, MountBindOptionsPropagationEnum,
    MountImageOptions, MountTmpfsOptions, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig, NetworkingConfig, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use swarmnet_model::container::{Healthcheck, LogDriver, Mount, MountKind};
use swarmnet_model::defaults::STOP_GRACE_PERIOD;
use swarmnet_model::template::{TemplateContext, TemplateError, expand};
use swarmnet_model::{ContainerSpec, GenericResource, Task};

use super::events::{NODE_ID_LABEL, TASK_ID_LABEL};
use crate::task::networks::{TaskNetwork, TaskNetworks};
use crate::task::resolv_files::TARGET;

/// A container as it is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerRequest {
    pub name: String,
    /// Attached to the first network only: engines before API 1.44 take no more.
    pub body: ContainerCreateBody,
    /// The other networks, to be connected before the start.
    pub further: Vec<EndpointRequest>,
}

/// A container's endpoint on one network.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRequest {
    pub network: String,
    pub settings: EndpointSettings,
}

/// A task that no container can be made for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    #[error("expanding {field} failed: {source}")]
    Template { field: &'static str, source: TemplateError },
    #[error("invalid mount target, must be an absolute path: {0}")]
    MountTarget(String),
    #[error("invalid bind mount source, must be an absolute path: {0}")]
    BindSource(String),
    #[error("invalid volume mount source, must not be an absolute path: {0}")]
    VolumeSource(String),
    #[error("invalid tmpfs source, source must be empty")]
    TmpfsSource,
}

/// Returns the container of a task.
///
/// # Errors
/// When a placeholder cannot be replaced or a mount cannot be meant; the task can never run.
pub fn container_request(
    context: &TemplateContext<'_>,
    networks: &TaskNetworks,
) -> Result<ContainerRequest, ContainerError> {
    let task = context.task;
    let spec = &task.spec.container;
    let mut endpoints = networks.networks.iter().map(endpoint);
    let first = endpoints.next();
    let body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        hostname: spec
            .hostname
            .as_ref()
            .map(|text| expanded("hostname", text, context))
            .transpose()?,
        user: spec.user.clone(),
        tty: Some(spec.tty),
        open_stdin: Some(spec.open_stdin),
        env: filled(env(context)?),
        entrypoint: filled(spec.command.clone()),
        cmd: filled(spec.args.clone()),
        working_dir: spec.dir.clone(),
        labels: Some(labels(context).into_iter().collect()),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: Some(seconds(grace_period(task))),
        healthcheck: spec.healthcheck.as_ref().map(healthcheck),
        host_config: Some(host_config(context, networks)?),
        networking_config: first.map(|endpoint| NetworkingConfig {
            endpoints_config: Some([(endpoint.network, endpoint.settings)].into_iter().collect()),
        }),
        ..Default::default()
    };
    Ok(ContainerRequest { name: task.container_name(), body, further: endpoints.collect() })
}

/// The user's own, then the generic resources that the task holds.
fn env(context: &TemplateContext<'_>) -> Result<Vec<String>, ContainerError> {
    let task = context.task;
    let own = task.spec.container.env.iter().map(|text| expanded("env", text, context));
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in &task.assigned_generic {
        let (kind, value) = match resource {
            GenericResource::Discrete { kind, value } => (kind, value.to_string()),
            GenericResource::Named { kind, value } => (kind, value.clone()),
        };
        held.entry(kind.to_uppercase()).or_default().push(value);
    }
    let held = held.into_iter().map(|(kind, values)| (kind, values.join(",")));
    own.chain(held.map(|(kind, values)| Ok(format!("DOCKER_RESOURCE_{kind}={values}")))).collect()
}

/// Returns the time between stop signal and kill.
pub fn grace_period(task: &Task) -> Duration {
    task.spec.container.stop_grace_period.unwrap_or(STOP_GRACE_PERIOD)
}

/// The engine counts whole seconds; a shorter wish is rounded up, so that 500 ms is not "at once".
pub fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i64::MAX)
}

/// Swarm's labels win over the user's.
fn labels(context: &TemplateContext<'_>) -> BTreeMap<String, String> {
    let task = context.task;
    let ours = [
        ("com.docker.swarm.task", String::new()),
        (TASK_ID_LABEL, task.id.to_string()),
        ("com.docker.swarm.task.name", task.container_name()),
        (NODE_ID_LABEL, context.node_id.to_string()),
        ("com.docker.swarm.service.id", task.service_id.to_string()),
        ("com.docker.swarm.service.name", task.service_name.clone()),
    ];
    let mut labels = task.spec.container.labels.clone();
    labels.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    labels
}

fn host_config(
    context: &TemplateContext<'_>,
    networks: &TaskNetworks,
) -> Result<HostConfig, ContainerError> {
    let task = context.task;
    let spec = &task.spec.container;
    let resources = &task.spec.resources;
    let mounts = spec.mounts.iter().map(|mount| engine_mount(mount, context));
    let mut mounts = mounts.collect::<Result<Vec<_>, _>>()?;
    let resolv_conf = networks.resolv_conf.as_deref();
    mounts.extend(resolv_conf.filter(|_| !covers(&mounts)).map(resolv_mount));
    Ok(HostConfig {
        network_mode: Some(network_mode(networks).to_owned()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        mounts: filled(mounts),
        init: spec.init,
        readonly_rootfs: spec.read_only.then_some(true),
        group_add: filled(spec.groups.clone()),
        extra_hosts: filled(spec.hosts.iter().flat_map(|line| extra_hosts(line)).collect()),
        dns: filled(spec.dns.nameservers.clone()),
        dns_search: filled(spec.dns.search.clone()),
        dns_options: filled(spec.dns.options.clone()),
        cap_add: filled(spec.capability_add.clone()),
        cap_drop: filled(spec.capability_drop.clone()),
        sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone().into_iter().collect()),
        ulimits: filled(ulimits(spec)),
        oom_score_adj: spec.oom_score_adj,
        nano_cpus: above_zero(resources.limit_nano_cpus),
        memory: above_zero(resources.limit_memory_bytes),
        pids_limit: above_zero(resources.limit_pids),
        memory_swap: resources.swap_bytes.map(|swap| match swap {
            0.. => resources.limit_memory_bytes.saturating_add(swap),
            _ => -1,
        }),
        memory_swappiness: resources.memory_swappiness.filter(|value| *value >= 0),
        security_opt: filled(spec.security_options.clone()),
        log_config: task.spec.log_driver.as_ref().map(log_config),
        ..Default::default()
    })
}

fn network_mode(networks: &TaskNetworks) -> &str {
    match (networks.predefined, networks.networks.first()) {
        (Some(predefined), _) => predefined.name(),
        (None, Some(first)) => &first.engine_name,
        (None, None) => "none",
    }
}

/// True if the user has a resolv.conf of his own.
fn covers(mounts: &[EngineMount]) -> bool {
    let target =
        |mount: &EngineMount| mount.target.as_deref().map(Path::new) == Some(Path::new(TARGET));
    mounts.iter().any(target)
}

/// Returns the mount of a resolv.conf that we have written.
pub fn resolv_mount(source: &Path) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(TARGET.to_owned()),
        read_only: Some(true),
        ..Default::default()
    }
}

/// `IP name [alias…]` as `/etc/hosts` has it → `name:IP` each, as the engine wants it.
fn extra_hosts(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let Some(address) = words.next() else { return Vec::new() };
    words.map(|name| format!("{name}:{address}")).collect()
}

fn ulimits(spec: &ContainerSpec) -> Vec<ResourcesUlimits> {
    let ulimit = |limit: &swarmnet_model::container::Ulimit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    };
    spec.ulimits.iter().map(ulimit).collect()
}

fn log_config(driver: &LogDriver) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some(driver.name.clone()).filter(|name| !name.is_empty()),
        config: Some(driver.options.clone().into_iter().collect()),
    }
}

fn healthcheck(check: &Healthcheck) -> HealthConfig {
    let nanoseconds = |duration: Option<Duration>| {
        duration.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    };
    HealthConfig {
        test: filled(check.test.clone()),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        retries: above_zero(i64::from(check.retries)),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
    }
}

fn engine_mount(
    mount: &Mount,
    context: &TemplateContext<'_>,
) -> Result<EngineMount, ContainerError> {
    let source = expanded("mount source", &mount.source, context)?;
    let target = expanded("mount target", &mount.target, context)?;
    check_paths(&mount.kind, &source, &target)?;
    let base = EngineMount {
        target: Some(target),
        source: Some(source).filter(|source| !source.is_empty()),
        read_only: Some(mount.read_only),
        consistency: mount.consistency.clone(),
        ..Default::default()
    };
    Ok(match &mount.kind {
        MountKind::Bind {
            propagation,
            non_recursive,
            create_mountpoint,
            read_only_non_recursive,
            read_only_force_recursive,
        } => EngineMount {
            typ: Some(MountType::BIND),
            bind_options: Some(MountBindOptions {
                propagation: propagation.as_deref().and_then(bind_propagation),
                non_recursive: non_recursive.then_some(true),
                create_mountpoint: create_mountpoint.then_some(true),
                read_only_non_recursive: read_only_non_recursive.then_some(true),
                read_only_force_recursive: read_only_force_recursive.then_some(true),
            }),
            ..base
        },
        MountKind::Volume { no_copy, labels, driver, subpath } => EngineMount {
            typ: Some(MountType::VOLUME),
            volume_options: Some(MountVolumeOptions {
                no_copy: no_copy.then_some(true),
                labels: Some(expanded_map("volume label", labels, context)?),
                driver_config: driver.as_ref().map(|d| volume_driver(d, context)).transpose()?,
                subpath: subpath.clone(),
            }),
            ..base
        },
        MountKind::Tmpfs { size_bytes, mode, options } => EngineMount {
            typ: Some(MountType::TMPFS),
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: *size_bytes,
                mode: mode.map(i64::from),
                options: filled(options.clone()),
            }),
            ..base
        },
        MountKind::Image { subpath } => EngineMount {
            typ: Some(MountType::IMAGE),
            image_options: subpath
                .clone()
                .map(|subpath| MountImageOptions { subpath: Some(subpath) }),
            ..base
        },
        MountKind::Npipe => EngineMount { typ: Some(MountType::NPIPE), ..base },
    })
}

/// The engine would refuse too, in other words; users know these.
fn check_paths(kind: &MountKind, source: &str, target: &str) -> Result<(), ContainerError> {
    if !target.starts_with('/') {
        return Err(ContainerError::MountTarget(target.to_owned()));
    }
    match (kind, source.starts_with('/')) {
        (MountKind::Bind { .. }, false) => Err(ContainerError::BindSource(source.to_owned())),
        (MountKind::Volume { .. }, true) => Err(ContainerError::VolumeSource(source.to_owned())),
        (MountKind::Tmpfs { .. }, _) if !source.is_empty() => Err(ContainerError::TmpfsSource),
        (
            MountKind::Bind { .. }
            | MountKind::Volume { .. }
            | MountKind::Tmpfs { .. }
            | MountKind::Image { .. }
            | MountKind::Npipe,
            _,
        ) => Ok(()),
    }
}

fn volume_driver(
    driver: &LogDriver,
    context: &TemplateContext<'_>,
) -> Result<MountVolumeOptionsDriverConfig, ContainerError> {
    Ok(MountVolumeOptionsDriverConfig {
        name: Some(driver.name.clone()).filter(|name| !name.is_empty()),
        options: Some(expanded_map("volume driver option", &driver.options, context)?),
    })
}

/// The API has refused unknown words; `None` leaves the engine's default.
fn bind_propagation(word: &str) -> Option<MountBindOptionsPropagationEnum> {
    Some(match word {
        "private" => MountBindOptionsPropagationEnum::PRIVATE,
        "rprivate" => MountBindOptionsPropagationEnum::RPRIVATE,
        "shared" => MountBindOptionsPropagationEnum::SHARED,
        "rshared" => MountBindOptionsPropagationEnum::RSHARED,
        "slave" => MountBindOptionsPropagationEnum::SLAVE,
        "rslave" => MountBindOptionsPropagationEnum::RSLAVE,
        _ => return None,
    })
}

fn endpoint(network: &TaskNetwork) -> EndpointRequest {
    let settings = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(network.address.to_string()),
            ..Default::default()
        }),
        aliases: filled(network.aliases.clone()),
        driver_opts: Some(network.driver_options.clone().into_iter().collect()),
        ..Default::default()
    };
    EndpointRequest { network: network.engine_name.clone(), settings }
}

fn expanded(
    field: &'static str,
    text: &str,
    context: &TemplateContext<'_>,
) -> Result<String, ContainerError> {
    expand(text, context).map_err(|source| ContainerError::Template { field, source })
}

/// Expands the values of a map, whatever map type the engine's model has.
fn expanded_map<M: FromIterator<(String, String)>>(
    field: &'static str,
    map: &BTreeMap<String, String>,
    context: &TemplateContext<'_>,
) -> Result<M, ContainerError> {
    map.iter().map(|(key, value)| Ok((key.clone(), expanded(field, value, context)?))).collect()
}

/// Empty means "as the image says".
fn filled<T>(values: Vec<T>) -> Option<Vec<T>> {
    Some(values).filter(|values| !values.is_empty())
}

/// Zero means "no limit", which the engine expresses by absence.
fn above_zero(value: i64) -> Option<i64> {
    Some(value).filter(|value| *value > 0)
}

#[cfg(test)]
mod tests;
