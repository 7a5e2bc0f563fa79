//! Pure: the cluster object and `Info.Swarm`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use swarmnet_model::cluster::Cluster;
use swarmnet_model::service::Document;
use swarmnet_model::{CallError, ClusterSpec, Timestamp};

use crate::control_plane::{LocalNode, LocalState};
use crate::error::ApiError;
use crate::json::{member, set_default, strip, typed, wire};
use crate::tls_info::TlsInfo;

wire! {
    /// `Spec` of the swarm; zero means "as it is", at init "the default".
    SwarmSpec {
        "Name" => name: String,
        "Labels" => labels: Option<BTreeMap<String, String>>,
        "Orchestration" => orchestration: Orchestration,
        "Raft" => raft: Raft,
        "Dispatcher" => dispatcher: Dispatcher,
        "CAConfig" => ca: CaConfig,
        "TaskDefaults" => task_defaults: Option<Value>,
        "EncryptionConfig" => encryption: Encryption,
    }
}

wire! { Orchestration { "TaskHistoryRetentionLimit" => history_limit: Option<i64>, } }

wire! {
    Raft {
        "SnapshotInterval" => snapshot_interval: u64,
        "KeepOldSnapshots" => keep_old_snapshots: Option<u64>,
        "LogEntriesForSlowFollowers" => slow_followers: u64,
        "ElectionTick" => election_tick: i64,
        "HeartbeatTick" => heartbeat_tick: i64,
    }
}

wire! { Dispatcher { "HeartbeatPeriod" => heartbeat_period: i64, } }

wire! {
    CaConfig {
        "NodeCertExpiry" => node_cert_expiry: i64,
        "ExternalCAs" => external_cas: Vec<Value>,
        "SigningCACert" => signing_ca_cert: String,
        "SigningCAKey" => signing_ca_key: String,
        "ForceRotate" => force_rotate: u64,
    }
}

wire! { Encryption { "AutoLockManagers" => auto_lock_managers: bool, } }

/// Shortest life of a node certificate, as in Docker Swarm.
const CERT_EXPIRY_MIN: Duration = Duration::from_secs(3600);

/// Reads a spec; what it leaves open is taken from `base`.
///
/// # Errors
/// 400 for values out of range, 501 for what this version does not do.
pub(crate) fn spec(mut document: Value, base: &ClusterSpec) -> Result<ClusterSpec, ApiError> {
    let wanted: SwarmSpec = typed(&document)?;
    if !matches!(wanted.name.as_str(), "" | "default") {
        return Err(CallError::invalid("swarm spec must be named \"default\"").into());
    }
    refuse_unsupported(&wanted)?;
    let heartbeat = duration(wanted.dispatcher.heartbeat_period)
        .ok_or_else(|| CallError::invalid("heartbeat time period cannot be a negative duration"))?;
    let too_short = || CallError::invalid("minimum certificate expiry time is: 1h0m0s");
    let expiry = duration(wanted.ca.node_cert_expiry).ok_or_else(too_short)?;
    if expiry.is_some_and(|expiry| expiry < CERT_EXPIRY_MIN) {
        return Err(too_short().into());
    }
    let snapshots = Some(wanted.raft.snapshot_interval).filter(|interval| *interval > 0);
    let mut spec = ClusterSpec {
        labels: wanted.labels.unwrap_or_else(|| base.labels.clone()),
        task_history_limit: wanted.orchestration.history_limit.unwrap_or(base.task_history_limit),
        heartbeat_period: heartbeat.unwrap_or(base.heartbeat_period),
        node_cert_expiry: expiry.unwrap_or(base.node_cert_expiry),
        snapshot_interval: snapshots.unwrap_or(base.snapshot_interval),
        document: Document::default(),
    };
    // Keys of a certificate authority must never be kept beside the spec.
    for path in ["CAConfig.SigningCACert", "CAConfig.SigningCAKey", "CAConfig.ForceRotate"] {
        strip(&mut document, path);
    }
    spec.document = Document(document.to_string());
    Ok(spec)
}

fn refuse_unsupported(wanted: &SwarmSpec) -> Result<(), ApiError> {
    let ca = &wanted.ca;
    let rotates = ca.force_rotate > 0 || !ca.signing_ca_cert.is_empty();
    if rotates || !ca.signing_ca_key.is_empty() {
        return Err(ApiError::unsupported("rotating the certificate authority is"));
    }
    if !ca.external_cas.is_empty() {
        return Err(ApiError::unsupported("external certificate authorities are"));
    }
    if wanted.encryption.auto_lock_managers {
        return Err(ApiError::unsupported("autolock is"));
    }
    Ok(())
}

/// `None` for a negative one, `Some(None)` for zero.
fn duration(nanoseconds: i64) -> Option<Option<Duration>> {
    let nanoseconds = u64::try_from(nanoseconds).ok()?;
    Some((nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds)))
}

/// Renders the cluster without its join tokens.
pub(crate) fn cluster(cluster: &Cluster) -> Value {
    let pools: Vec<String> = cluster.address_pools.iter().map(ToString::to_string).collect();
    json!({
        "ID": cluster.id,
        "Version": {"Index": cluster.version.0},
        "CreatedAt": cluster.created_at.to_string(),
        "UpdatedAt": cluster.updated_at.to_string(),
        "Spec": render_spec(&cluster.spec),
        "TLSInfo": TlsInfo::of(&cluster.root_ca.certificate_pem),
        "RootRotationInProgress": false,
        "DefaultAddrPool": pools,
        "SubnetSize": cluster.subnet_size_bits,
        "DataPathPort": cluster.data_path_port,
    })
}

/// Renders the cluster for managers' eyes: with its join tokens.
pub(crate) fn cluster_with_tokens(of: &Cluster) -> Value {
    let mut value = cluster(of);
    value["JoinTokens"] = json!({
        "Worker": of.join_tokens.worker.expose(),
        "Manager": of.join_tokens.manager.expose(),
    });
    value
}

/// The spec as written, what is in force, and Docker's values where this version has no setting.
fn render_spec(spec: &ClusterSpec) -> Value {
    let written: Value = serde_json::from_str(&spec.document.0).unwrap_or_else(|_| json!({}));
    let mut value = json!({"Name": "default", "Labels": spec.labels});
    for name in ["Orchestration", "Raft", "Dispatcher", "CAConfig", "TaskDefaults"] {
        *member(&mut value, name) = written.get(name).cloned().unwrap_or_else(|| json!({}));
    }
    for (name, other) in written.as_object().into_iter().flatten() {
        set_default(&mut value, name, other.clone());
    }
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    member(&mut value, "Orchestration")["TaskHistoryRetentionLimit"] =
        json!(spec.task_history_limit);
    member(&mut value, "Dispatcher")["HeartbeatPeriod"] = json!(nanos(spec.heartbeat_period));
    member(&mut value, "CAConfig")["NodeCertExpiry"] = json!(nanos(spec.node_cert_expiry));
    let raft = member(&mut value, "Raft");
    raft["SnapshotInterval"] = json!(spec.snapshot_interval);
    set_default(raft, "KeepOldSnapshots", 0);
    for (name, default) in
        [("LogEntriesForSlowFollowers", 500), ("ElectionTick", 10), ("HeartbeatTick", 1)]
    {
        if raft.get(name).is_none_or(|present| *present == json!(0)) {
            raft[name] = json!(default);
        }
    }
    set_default(member(&mut value, "EncryptionConfig"), "AutoLockManagers", false);
    value
}

/// `Cluster` of a manager that cannot read the cluster's state.
pub(crate) fn no_cluster() -> Value {
    json!({
        "ID": "",
        "Version": {},
        "CreatedAt": Timestamp::UNSET.to_string(),
        "UpdatedAt": Timestamp::UNSET.to_string(),
        "Spec": {
            "Labels": null,
            "Orchestration": {},
            "Raft": {"ElectionTick": 0, "HeartbeatTick": 0},
            "Dispatcher": {},
            "CAConfig": {},
            "TaskDefaults": {},
            "EncryptionConfig": {"AutoLockManagers": false},
        },
        "TLSInfo": {},
        "RootRotationInProgress": false,
        "DefaultAddrPool": null,
        "SubnetSize": 0,
        "DataPathPort": 0,
    })
}

/// Renders what the node knows of itself: `Info.Swarm` without the cluster.
pub(crate) fn local(node: &LocalNode) -> Value {
    let managers: Vec<Value> = node
        .managers
        .iter()
        .map(|(id, addr)| json!({"NodeID": id.as_ref().map_or("", |id| id.as_str()), "Addr": addr}))
        .collect();
    let hidden = managers.is_empty() || node.state == LocalState::Locked;
    json!({
        "NodeID": node.node_id.as_ref().map_or("", |id| id.as_str()),
        "NodeAddr": node.addr.map(|addr| addr.to_string()).unwrap_or_default(),
        "LocalNodeState": node.state.as_str(),
        "ControlAvailable": false,
        "Error": node.error,
        "RemoteManagers": if hidden { Value::Null } else { Value::Array(managers) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value, base: &ClusterSpec) -> Result<ClusterSpec, String> {
        spec(value, base).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn zero_fields_take_the_base() {
        // As CLI 20.10 sends it at init.
        let sent = json!({
            "Orchestration": {}, "Raft": {"ElectionTick": 0, "HeartbeatTick": 0}, "Dispatcher": {},
            "CAConfig": {}, "TaskDefaults": {}, "EncryptionConfig": {"AutoLockManagers": false},
        });
        let spec = read(sent, &ClusterSpec::default()).unwrap();
        assert_eq!(
            ClusterSpec { document: Document::default(), ..spec.clone() },
            ClusterSpec::default()
        );
        assert_eq!(
            render_spec(&spec),
            json!({
                "Name": "default",
                "Labels": {},
                "Orchestration": {"TaskHistoryRetentionLimit": 5},
                "Raft": {
                    "SnapshotInterval": 10000, "KeepOldSnapshots": 0,
                    "LogEntriesForSlowFollowers": 500, "ElectionTick": 10, "HeartbeatTick": 1,
                },
                "Dispatcher": {"HeartbeatPeriod": 5_000_000_000_u64},
                "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000_u64},
                "TaskDefaults": {},
                "EncryptionConfig": {"AutoLockManagers": false},
            })
        );
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name_and_returns_unknown_keys() {
        let base = ClusterSpec { task_history_limit: 3, ..ClusterSpec::default() };
        let sent = json!({"Dispatcher": {"HeartbeatPeriod": 2_000_000_000, "New": 1}, "Odd": true});
        let spec = read(sent, &base).unwrap();
        assert_eq!((spec.task_history_limit, spec.heartbeat_period.as_secs()), (3, 2));
        let rendered = render_spec(&spec);
        assert_eq!((&rendered["Odd"], &rendered["Dispatcher"]["New"]), (&json!(true), &json!(1)));
        assert_eq!(rendered["Orchestration"]["TaskHistoryRetentionLimit"], 3);
    }

    #[test]
    fn bad_settings_are_refused_in_dockers_words() {
        let base = ClusterSpec::default();
        for (value, text) in [
            (json!({"Name": "x"}), "swarm spec must be named \"default\""),
            (json!({"Dispatcher": {"HeartbeatPeriod": -1}}), "negative duration"),
            (
                json!({"CAConfig": {"NodeCertExpiry": 1}}),
                "minimum certificate expiry time is: 1h0m0s",
            ),
            (json!({"EncryptionConfig": {"AutoLockManagers": true}}), "autolock is not supported"),
            (json!({"CAConfig": {"ForceRotate": 1}}), "certificate authority is not supported"),
        ] {
            let error = read(value.clone(), &base).unwrap_err();
            assert!(error.contains(text), "{value}: {error}");
        }
    }

    #[test]
    fn a_node_outside_a_swarm_shows_empty_fields() {
        let node = LocalNode {
            state: LocalState::Inactive,
            is_manager: false,
            node_id: None,
            addr: None,
            managers: Vec::new(),
            error: String::new(),
        };
        assert_eq!(
            local(&node),
            json!({
                "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive",
                "ControlAvailable": false, "Error": "", "RemoteManagers": null,
            })
        );
    }
}
