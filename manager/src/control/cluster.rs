//! Pure: cluster calls: settings and token rotation.

use std::time::Duration;

use swarmnet_model::{
    CallError, Cluster, ClusterSpec, Code, IdSource, SecretText, Tables, Version, update_rules,
};

use super::call::Decision;
use crate::ca::JoinToken;
use crate::store::Change;

/// Certificates of a shorter life would be renewed all the time.
const CERT_EXPIRY_MIN: Duration = Duration::from_secs(3600);

/// Which join tokens get a new secret.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rotate {
    pub(super) worker: bool,
    pub(super) manager: bool,
}

/// Writes the settings; a rotated token's old secret is refused from then on.
pub(super) fn update(
    tables: &Tables,
    version: Version,
    spec: &ClusterSpec,
    rotate: Rotate,
    ids: &mut dyn IdSource,
) -> Result<Decision, CallError> {
    let present = tables.cluster.as_deref().ok_or_else(CallError::no_leader)?;
    if present.version != version {
        return Err(CallError::out_of_sequence());
    }
    if spec.node_cert_expiry < CERT_EXPIRY_MIN {
        return Err(CallError::invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    update_rules::deadline_in(&spec.labels)
        .map_err(|error| CallError::invalid(error.to_string()))?;
    let mut cluster = Cluster::clone(present);
    cluster.spec = spec.clone();
    if rotate.worker {
        cluster.join_tokens.worker = renewed(&present.join_tokens.worker, ids)?;
    }
    if rotate.manager {
        cluster.join_tokens.manager = renewed(&present.join_tokens.manager, ids)?;
    }
    let expected = Some(version);
    Ok(Decision::done(Change::PutCluster { cluster: Box::new(cluster), expected }))
}

/// Returns a token of the same root with another secret.
fn renewed(token: &SecretText, ids: &mut dyn IdSource) -> Result<SecretText, CallError> {
    let old = JoinToken::parse(token.expose()).map_err(|_| {
        CallError::manager(Code::Internal, "the cluster's own join token cannot be read")
    })?;
    Ok(JoinToken::generate(old.digest(), ids).as_secret().clone())
}

#[cfg(test)]
mod tests {
    use swarmnet_model::JoinTokens;

    use super::*;
    use crate::world::World;

    fn token(secret: char) -> SecretText {
        SecretText::new(format!("SWMTKN-1-{}-{}", "0".repeat(50), secret.to_string().repeat(25)))
    }

    fn updated(
        version: u64,
        rotate: Rotate,
        edit: impl FnOnce(&mut ClusterSpec),
    ) -> Result<Cluster, String> {
        let mut tables = World::given("").tables;
        let mut cluster = crate::world::cluster();
        cluster.join_tokens = JoinTokens { worker: token('1'), manager: token('2') };
        let mut spec = cluster.spec.clone();
        tables.cluster = Some(cluster.into());
        edit(&mut spec);
        let decision = update(&tables, Version(version), &spec, rotate, &mut || 7)
            .map_err(|error| error.to_string())?;
        match decision.changes.as_slice() {
            [Change::PutCluster { cluster, expected: Some(_) }] => Ok(Cluster::clone(cluster)),
            other => panic!("not one cluster: {other:?}"),
        }
    }

    #[test]
    fn settings_are_written_and_tokens_stay() {
        let cluster = updated(1, Rotate::default(), |spec| spec.task_history_limit = 2).unwrap();
        assert_eq!(cluster.spec.task_history_limit, 2);
        assert_eq!(cluster.join_tokens, JoinTokens { worker: token('1'), manager: token('2') });
    }

    #[test]
    fn a_rotated_token_keeps_the_root_and_changes_the_secret() {
        let rotate = Rotate { worker: true, manager: false };
        let tokens = updated(1, rotate, |_| {}).unwrap().join_tokens;
        assert_eq!(tokens.manager, token('2'));
        let fresh = format!("SWMTKN-1-{}-{:0>25}", "0".repeat(50), 7);
        assert_eq!(tokens.worker.expose(), fresh);
    }

    #[test]
    fn stale_versions_and_short_lives_of_certificates_are_refused() {
        let error = updated(2, Rotate::default(), |_| {}).unwrap_err();
        assert!(error.ends_with("update out of sequence"));
        let short = |spec: &mut ClusterSpec| spec.node_cert_expiry = Duration::from_secs(3599);
        assert_eq!(
            updated(1, Rotate::default(), short).unwrap_err(),
            "rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s"
        );
    }
}
