//! Pure: the container of a task.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use swarmnet_model::container::{DnsConfig, Healthcheck, Ulimit};
use swarmnet_model::{CallError, ContainerSpec};

use crate::convert::mount::{MountBody, mount};
use crate::convert::privileges::{Privileges, security_options};
use crate::error::ApiError;
use crate::json::wire;

wire! {
    ContainerBody {
        "Image" => image: String,
        "Labels" => labels: BTreeMap<String, String>,
        "Command" => command: Vec<String>,
        "Args" => args: Vec<String>,
        "Hostname" => hostname: String,
        "Env" => env: Vec<String>,
        "Dir" => dir: String,
        "User" => user: String,
        "Groups" => groups: Vec<String>,
        "Privileges" => privileges: Option<Privileges>,
        "Init" => init: Option<bool>,
        "StopSignal" => stop_signal: String,
        "TTY" => tty: bool,
        "OpenStdin" => open_stdin: bool,
        "ReadOnly" => read_only: bool,
        "Mounts" => mounts: Vec<MountBody>,
        "StopGracePeriod" => stop_grace_period: Option<i64>,
        "Healthcheck" => healthcheck: Option<HealthBody>,
        "Hosts" => hosts: Vec<String>,
        "DNSConfig" => dns: Option<DnsBody>,
        "Secrets" => secrets: Vec<Value>,
        "Configs" => configs: Vec<Value>,
        // For Windows; kept in the spec, without effect on Linux.
        "Isolation" => isolation: String,
        "Sysctls" => sysctls: BTreeMap<String, String>,
        "CapabilityAdd" => capability_add: Vec<String>,
        "CapabilityDrop" => capability_drop: Vec<String>,
        "Ulimits" => ulimits: Vec<UlimitBody>,
        "OomScoreAdj" => oom_score_adj: Option<i64>,
    }
}

wire! {
    HealthBody {
        "Test" => test: Vec<String>,
        "Interval" => interval: i64,
        "Timeout" => timeout: i64,
        "StartPeriod" => start_period: i64,
        "StartInterval" => start_interval: i64,
        "Retries" => retries: i64,
    }
}

wire! {
    DnsBody {
        "Nameservers" => nameservers: Vec<String>,
        "Search" => search: Vec<String>,
        "Options" => options: Vec<String>,
    }
}

wire! { UlimitBody { "Name" => name: String, "Soft" => soft: i64, "Hard" => hard: i64, } }

/// Reads a container spec.
///
/// # Errors
/// 400 with Docker's texts, 501 for what this version cannot do.
pub(crate) fn container(body: ContainerBody) -> Result<ContainerSpec, ApiError> {
    if !body.secrets.is_empty() {
        return Err(ApiError::unsupported("secrets are"));
    }
    if !body.configs.is_empty() {
        return Err(ApiError::unsupported("configs are"));
    }
    Ok(ContainerSpec {
        image: body.image,
        labels: body.labels,
        command: body.command,
        args: body.args,
        hostname: some(body.hostname),
        env: body.env,
        dir: some(body.dir),
        user: some(body.user),
        groups: body.groups,
        init: body.init,
        tty: body.tty,
        open_stdin: body.open_stdin,
        read_only: body.read_only,
        stop_signal: some(body.stop_signal),
        stop_grace_period: body.stop_grace_period.map(grace_period).transpose()?,
        healthcheck: body.healthcheck.map(healthcheck).transpose()?,
        hosts: body.hosts,
        dns: dns(body.dns.unwrap_or_default()),
        mounts: body.mounts.into_iter().map(mount).collect::<Result<_, _>>()?,
        sysctls: body.sysctls,
        capability_add: body.capability_add,
        capability_drop: body.capability_drop,
        ulimits: body.ulimits.into_iter().map(ulimit).collect(),
        oom_score_adj: body.oom_score_adj,
        security_options: security_options(body.privileges.unwrap_or_default())?,
    })
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn grace_period(nanoseconds: i64) -> Result<Duration, ApiError> {
    let text = "ContainerSpec: StopGracePeriod cannot be negative";
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| CallError::invalid(text))?;
    Ok(Duration::from_nanos(nanoseconds))
}

fn dns(body: DnsBody) -> DnsConfig {
    DnsConfig { nameservers: body.nameservers, search: body.search, options: body.options }
}

fn ulimit(body: UlimitBody) -> Ulimit {
    Ulimit { name: body.name, soft: body.soft, hard: body.hard }
}

fn healthcheck(body: HealthBody) -> Result<Healthcheck, ApiError> {
    let text = "ContainerSpec: Retries in HealthConfig cannot be negative";
    Ok(Healthcheck {
        test: body.test,
        interval: health_time(body.interval, "Interval")?,
        timeout: health_time(body.timeout, "Timeout")?,
        start_period: health_time(body.start_period, "StartPeriod")?,
        start_interval: health_time(body.start_interval, "StartInterval")?,
        retries: u32::try_from(body.retries).map_err(|_| CallError::invalid(text))?,
    })
}

/// Zero means the engine's default.
fn health_time(nanoseconds: i64, field: &str) -> Result<Option<Duration>, ApiError> {
    match u64::try_from(nanoseconds).map(Duration::from_nanos) {
        Ok(Duration::ZERO) => Ok(None),
        Ok(time) if time >= Duration::from_millis(1) => Ok(Some(time)),
        Ok(_) | Err(_) => Err(CallError::invalid(format!(
            "ContainerSpec: {field} in HealthConfig cannot be less than 1ms"
        ))
        .into()),
    }
}
