//! Pure: what a service spec may say, apart from other objects of the cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use swarmnet_model::container::{Healthcheck, Ulimit};
use swarmnet_model::limits::{NETWORKS_PER_TASK_MAX, PORTS_PER_SERVICE_MAX, TASKS_PER_SERVICE_MAX};
use swarmnet_model::name::check_dns_name;
use swarmnet_model::resources::Resources;
use swarmnet_model::template;
use swarmnet_model::{
    CallError, Constraint, ContainerSpec, EndpointMode, EndpointSpec, GenericResource,
    PredefinedNetwork, Protocol, PublishMode, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig,
    update_rules,
};

use super::image::is_reference;

/// A thousandth of a core, in billionths.
const NANO_CPUS_MIN: i64 = 1_000_000;
const MEMORY_BYTES_MIN: i64 = 4 << 20;
/// Shortest interval of a health check that the engine accepts.
const HEALTH_DURATION_MIN: Duration = Duration::from_millis(1);

/// Checks everything in a spec that needs no look at the cluster.
///
/// # Errors
/// The first thing that is wrong, in Docker's words.
pub(super) fn check_spec(spec: &ServiceSpec) -> Result<(), CallError> {
    check_dns_name(&spec.name)?;
    update_rules::deadline_in(&spec.labels)
        .map_err(|error| CallError::invalid(error.to_string()))?;
    check_mode(spec)?;
    check_task(&spec.task)?;
    template::check(spec).map_err(|error| CallError::invalid(error.to_string()))?;
    for config in spec.update.iter().chain(&spec.rollback) {
        check_update(config)?;
    }
    check_host_network(spec)?;
    check_endpoint(&spec.endpoint)
}

/// Tasks in the node's network namespace have no interface of their own. Docker finds that out when
/// it starts them.
fn check_host_network(spec: &ServiceSpec) -> Result<(), CallError> {
    if spec.task.predefined != Some(PredefinedNetwork::Host) {
        return Ok(());
    }
    if !spec.task.networks.is_empty() {
        return Err(CallError::invalid("TaskSpec: host cannot be combined with other networks"));
    }
    match spec.endpoint.ports.iter().find(|port| port.mode == PublishMode::Ingress) {
        Some(port) => Err(CallError::invalid(format!(
            "EndpointSpec: port {} cannot be published: tasks on the network host listen on the \
             addresses of their node themselves",
            port.target_port
        ))),
        None => Ok(()),
    }
}

fn check_mode(spec: &ServiceSpec) -> Result<(), CallError> {
    if spec.mode.is_job() && spec.update.is_some() {
        return Err(CallError::invalid("Jobs may not have an update config"));
    }
    let is_negative = |count: u64| i64::try_from(count).is_err();
    let too_many = |what: &str| {
        let message = format!("{what} must not be more than {TASKS_PER_SERVICE_MAX}");
        Err(CallError::invalid(message))
    };
    match spec.mode {
        ServiceMode::Replicated { replicas } if is_negative(replicas) => {
            Err(CallError::invalid("Number of replicas must be non-negative"))
        }
        ServiceMode::ReplicatedJob { max_concurrent, .. } if is_negative(max_concurrent) => {
            Err(CallError::invalid("Maximum concurrent jobs must not be negative"))
        }
        ServiceMode::ReplicatedJob { total_completions, .. } if is_negative(total_completions) => {
            Err(CallError::invalid("Total completed jobs must not be negative"))
        }
        ServiceMode::Replicated { replicas } if replicas > TASKS_PER_SERVICE_MAX => {
            too_many("Number of replicas")
        }
        ServiceMode::ReplicatedJob { total_completions, .. }
            if total_completions > TASKS_PER_SERVICE_MAX =>
        {
            too_many("Total completed jobs")
        }
        ServiceMode::Replicated { .. }
        | ServiceMode::Global
        | ServiceMode::ReplicatedJob { .. }
        | ServiceMode::GlobalJob => Ok(()),
    }
}

fn check_task(task: &TaskSpec) -> Result<(), CallError> {
    check_container(&task.container)?;
    check_resources(&task.resources)?;
    Constraint::parse_all(&task.placement.constraints)
        .map_err(|error| CallError::invalid(error.to_string()))?;
    if task.networks.len() > NETWORKS_PER_TASK_MAX {
        let message = format!("TaskSpec: more than {NETWORKS_PER_TASK_MAX} networks");
        return Err(CallError::invalid(message));
    }
    let mut networks = BTreeSet::new();
    match task.networks.iter().find(|network| !networks.insert(&network.network_id)) {
        Some(twice) => {
            let message = format!("TaskSpec: network {} is given twice", twice.network_id);
            Err(CallError::invalid(message))
        }
        None => Ok(()),
    }
}

fn check_container(container: &ContainerSpec) -> Result<(), CallError> {
    let invalid = |message: String| CallError::invalid(format!("ContainerSpec: {message}"));
    if container.image.is_empty() {
        return Err(invalid("image reference must be provided".to_owned()));
    }
    if !is_reference(&container.image) {
        return Err(invalid(format!("\"{}\" is not a valid repository/tag", container.image)));
    }
    let mut targets = BTreeSet::new();
    if let Some(twice) = container.mounts.iter().find(|mount| !targets.insert(&mount.target)) {
        return Err(invalid(format!("duplicate mount point: {}", twice.target)));
    }
    let addresses = &container.dns.nameservers;
    if let Some(other) = addresses.iter().find(|text| text.parse::<IpAddr>().is_err()) {
        return Err(invalid(format!("{other} is not an ip address (DNSConfig.Nameservers)")));
    }
    if container.env.iter().any(|entry| entry.is_empty() || entry.starts_with('=')) {
        return Err(invalid("invalid environment variable in Env: a name is missing".to_owned()));
    }
    check_limits(container)?;
    container.healthcheck.as_ref().map_or(Ok(()), check_health)
}

/// The engine would refuse too, but only task after task.
fn check_limits(container: &ContainerSpec) -> Result<(), CallError> {
    let invalid = |message: String| Err(CallError::invalid(format!("ContainerSpec: {message}")));
    for Ulimit { name, soft, hard } in &container.ulimits {
        // A hard limit of -1 is none.
        if name.is_empty() || (*hard != -1 && (*soft == -1 || soft > hard)) {
            return invalid(format!("invalid Ulimits: {name:?} with soft {soft} and hard {hard}"));
        }
    }
    match container.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        Some(score) => {
            invalid(format!("invalid OomScoreAdj {score}: valid range is -1000 to 1000"))
        }
        None => Ok(()),
    }
}

fn check_health(health: &Healthcheck) -> Result<(), CallError> {
    let durations = [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ];
    for (name, duration) in durations {
        // Zero leaves it to the image.
        if duration.is_some_and(|d| !d.is_zero() && d < HEALTH_DURATION_MIN) {
            let message = format!("ContainerSpec: {name} in HealthConfig cannot be less than 1ms");
            return Err(CallError::invalid(message));
        }
    }
    Ok(())
}

fn check_resources(resources: &Resources) -> Result<(), CallError> {
    for cpus in [resources.limit_nano_cpus, resources.reserve_nano_cpus] {
        if cpus != 0 && cpus < NANO_CPUS_MIN {
            let message = format!("invalid cpu value {}: Must be at least 0.001", in_cores(cpus));
            return Err(CallError::invalid(message));
        }
    }
    for bytes in [resources.limit_memory_bytes, resources.reserve_memory_bytes] {
        if bytes != 0 && bytes < MEMORY_BYTES_MIN {
            let message = format!("invalid memory value {bytes}: Must be at least 4MiB");
            return Err(CallError::invalid(message));
        }
    }
    check_swap(resources)?;
    resources.reserve_generic.iter().try_for_each(check_generic)
}

fn check_swap(resources: &Resources) -> Result<(), CallError> {
    if let Some(value) = resources.memory_swappiness.filter(|v| !(-1..=100).contains(v)) {
        let message = format!("invalid MemorySwappiness {value}: valid range is 0-100");
        return Err(CallError::invalid(message));
    }
    match resources.swap_bytes {
        Some(swap) if swap < -1 => {
            Err(CallError::invalid(format!("invalid SwapBytes {swap}: -1 means no limit")))
        }
        Some(_) if resources.limit_memory_bytes == 0 => {
            Err(CallError::invalid("invalid SwapBytes: a memory limit is needed"))
        }
        _ => Ok(()),
    }
}

/// Kinds become names of variables in the container (`DOCKER_RESOURCE_<KIND>`).
fn check_generic(resource: &GenericResource) -> Result<(), CallError> {
    let kind = resource.kind();
    let fine = match resource {
        GenericResource::Discrete { value, .. } => *value > 0,
        GenericResource::Named { value, .. } => is_plain(value),
    };
    if fine && is_plain(kind) {
        return Ok(());
    }
    Err(CallError::invalid(format!("invalid argument for resource {kind}")))
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == '=' || c == '\0' || c.is_control())
}

/// Billionths as a number of cores, written as Go's `%g` does: `0.0005`, `1e-08`.
fn in_cores(nano_cpus: i64) -> String {
    let sign = if nano_cpus < 0 { "-" } else { "" };
    let digits = nano_cpus.unsigned_abs().to_string();
    let exponent = i64::try_from(digits.len()).unwrap_or(i64::MAX) - 10;
    let significant = digits.trim_end_matches('0');
    if exponent < -4 {
        let (first, rest) = significant.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}e-{:02}", -exponent);
    }
    let padded = format!("{digits:0>10}");
    let (whole, fraction) = padded.split_at(padded.len() - 9);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

fn check_update(config: &UpdateConfig) -> Result<(), CallError> {
    if (0.0..=1.0).contains(&config.max_failure_ratio) {
        return Ok(());
    }
    let message = "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1";
    Err(CallError::invalid(message))
}

fn check_endpoint(endpoint: &EndpointSpec) -> Result<(), CallError> {
    let invalid = |message: &str| Err(CallError::invalid(format!("EndpointSpec: {message}")));
    if endpoint.ports.len() > PORTS_PER_SERVICE_MAX {
        return invalid(&format!("more than {PORTS_PER_SERVICE_MAX} published ports"));
    }
    let mut published = BTreeSet::new();
    for port in &endpoint.ports {
        let ingress = port.mode == PublishMode::Ingress;
        if port.target_port == 0 {
            return invalid("target port must be between 1 and 65535");
        }
        if ingress && endpoint.mode == EndpointMode::Dnsrr {
            return invalid("port published with ingress mode can't be used with dnsrr mode");
        }
        if ingress && port.protocol == Protocol::Sctp && port.published_port != port.target_port {
            return invalid("an SCTP port is published in ingress mode only under its own number");
        }
        if port.published_port != 0 && !published.insert((port.published_port, port.protocol)) {
            return invalid("duplicate published ports provided");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use swarmnet_model::NetworkId;
    use swarmnet_model::task::NetworkAttachmentSpec;

    use super::*;
    use crate::world::{mount, port, spec};

    /// What is said of a spec after `edit`; empty if nothing.
    fn verdict(edit: impl FnOnce(&mut ServiceSpec)) -> String {
        let mut spec = spec("web");
        edit(&mut spec);
        check_spec(&spec).map_or_else(|error| error.to_string(), |()| String::new())
    }

    const INVALID: &str = "rpc error: code = InvalidArgument desc = ";

    #[test]
    fn a_plain_spec_is_fine() {
        assert_eq!(verdict(|_| {}), "");
        assert_eq!(verdict(|spec| spec.mode = ServiceMode::Global), "");
    }

    #[test]
    fn names_and_images_are_checked() {
        assert_eq!(
            verdict(|spec| spec.name.clear()),
            format!("{INVALID}meta: name must be provided")
        );
        assert_eq!(
            verdict(|spec| spec.task.container.image.clear()),
            format!("{INVALID}ContainerSpec: image reference must be provided")
        );
        assert_eq!(
            verdict(|spec| "!!".clone_into(&mut spec.task.container.image)),
            format!("{INVALID}ContainerSpec: \"!!\" is not a valid repository/tag")
        );
    }

    #[test]
    fn resources_have_minima() {
        let cpu = |value: i64| verdict(|spec| spec.task.resources.limit_nano_cpus = value);
        for (value, shown) in [
            (10, "1e-08"),
            (12, "1.2e-08"),
            (500_000, "0.0005"),
            (99_999, "9.9999e-05"),
            (100_000, "0.0001"),
            (-1_500_000_000, "-1.5"),
        ] {
            let text = format!("{INVALID}invalid cpu value {shown}: Must be at least 0.001");
            assert_eq!(cpu(value), text);
        }
        assert_eq!(cpu(1_000_000), "");
        assert_eq!(
            verdict(|spec| spec.task.resources.reserve_memory_bytes = 10),
            format!("{INVALID}invalid memory value 10: Must be at least 4MiB")
        );
    }

    #[test]
    fn ports_are_checked_against_each_other() {
        let ports = |texts: &[&str], mode| {
            verdict(|spec| {
                spec.endpoint.ports = texts.iter().map(|text| port(text)).collect();
                spec.endpoint.mode = mode;
            })
        };
        let vip = EndpointMode::Vip;
        assert_eq!(ports(&["80:80", "80:80/udp", "81", "82"], vip), "");
        assert_eq!(
            ports(&["80:80", "80:81"], vip),
            format!("{INVALID}EndpointSpec: duplicate published ports provided")
        );
        assert_eq!(
            ports(&["80:80"], EndpointMode::Dnsrr),
            format!(
                "{INVALID}EndpointSpec: port published with ingress mode can't be used with dnsrr \
                 mode"
            )
        );
        assert_eq!(ports(&["80:80@host"], EndpointMode::Dnsrr), "");
        assert_eq!(ports(&["80:80/sctp", "81:82/sctp@host"], vip), "");
        assert!(ports(&["81:80/sctp"], vip).contains("SCTP"));
        assert!(ports(&["80:0"], vip).contains("target port"));
        assert_eq!(ports(&["80@host", "81@host"], vip), "");
    }

    #[test]
    fn tasks_in_the_nodes_namespace_have_no_other_network_and_no_port_of_the_mesh() {
        let on_host = |texts: &[&str], networks: &[&str]| {
            verdict(|spec| {
                spec.task.predefined = Some(PredefinedNetwork::Host);
                spec.task.networks = networks.iter().map(|name| on(name)).collect();
                spec.endpoint.ports = texts.iter().map(|text| port(text)).collect();
            })
        };
        assert_eq!(on_host(&[], &[]), "");
        assert_eq!(on_host(&["80:80@host"], &[]), "");
        assert!(on_host(&["80:81"], &[]).contains("port 81 cannot be published"));
        assert!(on_host(&[], &["net"]).contains("host cannot be combined"));
    }

    fn on(network: &str) -> NetworkAttachmentSpec {
        NetworkAttachmentSpec {
            network_id: NetworkId::from_text(network),
            aliases: Vec::new(),
            driver_options: Default::default(),
        }
    }

    #[test]
    fn mounts_constraints_and_networks_are_checked() {
        assert_eq!(
            verdict(|spec| spec.task.container.mounts = vec![mount("/x"), mount("/x")]),
            format!("{INVALID}ContainerSpec: duplicate mount point: /x")
        );
        assert_eq!(
            verdict(|spec| spec.task.placement.constraints.push("node.id".to_owned())),
            format!("{INVALID}constraint expected one operator from ==, !=")
        );
        let text = verdict(|spec| spec.task.networks = vec![on("net"), on("net")]);
        assert_eq!(text, format!("{INVALID}TaskSpec: network net is given twice"));
    }

    #[test]
    fn ratios_and_health_checks_have_bounds() {
        for ratio in [-0.1, 1.5, f32::NAN] {
            let config = UpdateConfig { max_failure_ratio: ratio, ..UpdateConfig::default() };
            let text = verdict(|spec| spec.rollback = Some(config));
            assert!(text.ends_with("cannot be less than 0 or bigger than 1"), "{text}");
        }
        let health = |interval| {
            let check = Healthcheck { interval: Some(interval), ..Healthcheck::default() };
            verdict(|spec| spec.task.container.healthcheck = Some(check))
        };
        assert_eq!(health(Duration::ZERO), "");
        assert_eq!(
            health(Duration::from_micros(10)),
            format!("{INVALID}ContainerSpec: Interval in HealthConfig cannot be less than 1ms")
        );
    }

    #[test]
    fn a_service_asks_for_a_bounded_number_of_tasks() {
        let replicas = |replicas| verdict(|spec| spec.mode = ServiceMode::Replicated { replicas });
        assert_eq!(replicas(TASKS_PER_SERVICE_MAX), "");
        let text = replicas(TASKS_PER_SERVICE_MAX + 1);
        assert_eq!(text, format!("{INVALID}Number of replicas must not be more than 1000000"));
        let total_completions = TASKS_PER_SERVICE_MAX + 1;
        let job = ServiceMode::ReplicatedJob { max_concurrent: 1, total_completions };
        let text = verdict(|spec| spec.mode = job);
        assert_eq!(text, format!("{INVALID}Total completed jobs must not be more than 1000000"));
    }

    #[test]
    fn jobs_have_no_update_config_and_no_negative_counts() {
        let job = |max_concurrent, total_completions, update: Option<UpdateConfig>| {
            verdict(|spec| {
                spec.mode = ServiceMode::ReplicatedJob { max_concurrent, total_completions };
                spec.update = update;
            })
        };
        assert_eq!(job(2, 3, None), "");
        let text = job(2, 3, Some(UpdateConfig::default()));
        assert_eq!(text, format!("{INVALID}Jobs may not have an update config"));
        let text = job(1, u64::MAX, None);
        assert_eq!(text, format!("{INVALID}Total completed jobs must not be negative"));
        let text = job(u64::MAX, 1, None);
        assert_eq!(text, format!("{INVALID}Maximum concurrent jobs must not be negative"));
    }

    #[test]
    fn fields_of_containers_are_checked_and_named() {
        let container =
            |edit: &dyn Fn(&mut ContainerSpec)| verdict(|spec| edit(&mut spec.task.container));
        for (text, wanted) in [
            (
                container(&|c| c.hostname = Some("{{.Nope}}".to_owned())),
                "expanding hostname failed: template: expansion:1: can't evaluate field Nope",
            ),
            (
                container(&|c| c.env.push("A={{".to_owned())),
                "expanding env failed: template: expansion:1: unclosed action",
            ),
            (
                container(&|c| c.mounts = vec![mount("/{{nope}}")]),
                "expanding mount target failed: ",
            ),
            (container(&|c| c.env.push("=x".to_owned())), "ContainerSpec: invalid environment"),
            (
                container(&|c| c.dns.nameservers.push("zz".to_owned())),
                "ContainerSpec: zz is not an ip address (DNSConfig.Nameservers)",
            ),
        ] {
            assert!(text.starts_with(&format!("{INVALID}{wanted}")), "{text}");
        }
        let ulimit = |name: &str, soft, hard| {
            let name = name.to_owned();
            container(&|c| c.ulimits = vec![Ulimit { name: name.clone(), soft, hard }])
        };
        assert_eq!(
            [ulimit("nofile", 1, 1), ulimit("nofile", -1, -1), ulimit("nice", 5, -1)],
            [""; 3]
        );
        let text = ulimit("nofile", 2, 1);
        assert!(text.ends_with("invalid Ulimits: \"nofile\" with soft 2 and hard 1"), "{text}");
        assert!(ulimit("nofile", -1, 1).contains("Ulimits"));
        assert!(ulimit("", 1, 1).contains("Ulimits"));
        assert_eq!(container(&|c| c.oom_score_adj = Some(-1000)), "");
        assert!(container(&|c| c.oom_score_adj = Some(1001)).contains("OomScoreAdj 1001"));
        assert_eq!(container(&|c| c.dns.nameservers.push("fd00::1".to_owned())), "");
        assert_eq!(container(&|c| c.hostname = Some("{{.Task.Slot}}".to_owned())), "");
    }

    #[test]
    fn swap_and_generic_resources_are_checked_and_named() {
        let resources =
            |edit: &dyn Fn(&mut Resources)| verdict(|spec| edit(&mut spec.task.resources));
        let generic = |kind: &str, value: i64| {
            resources(&|r| {
                let kind = kind.to_owned();
                r.reserve_generic = vec![GenericResource::Discrete { kind, value }];
            })
        };
        assert_eq!(generic("GPU", 1), "");
        assert_eq!(generic("GPU", 0), format!("{INVALID}invalid argument for resource GPU"));
        assert!(generic("", 1).contains("invalid argument for resource"));
        assert!(generic("A=B", 1).contains("invalid argument for resource A=B"));
        assert!(resources(&|r| r.memory_swappiness = Some(101)).contains("MemorySwappiness 101"));
        assert!(resources(&|r| r.swap_bytes = Some(1)).contains("SwapBytes: a memory limit"));
        assert!(resources(&|r| r.swap_bytes = Some(-2)).contains("SwapBytes -2"));
        let limited = resources(&|r| {
            r.limit_memory_bytes = 8 << 20;
            r.swap_bytes = Some(-1);
            r.memory_swappiness = Some(0);
        });
        assert_eq!(limited, "");
    }
}
