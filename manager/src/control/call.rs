//! Carries out one call on the leader: decide on a snapshot, propose, and once more if it raced.

use swarmnet_model::{Call, CallError, IdSource, Reply, Tables, Timestamp};

use super::{cluster, network, node, service};
use crate::ids::OsIds;
use crate::raft::RaftGroup;
use crate::store::{Change, ProposeError, Store};

/// A call that lost a race this often is given up.
const ATTEMPTS: u32 = 3;

/// What a call writes, and what its caller is told once that is done.
#[derive(Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) changes: Vec<Change>,
    pub(super) reply: Reply,
}

impl Decision {
    pub(super) fn done(change: Change) -> Self {
        Self { changes: vec![change], reply: Reply::Done }
    }

    pub(super) fn created(change: Change, id: impl ToString) -> Self {
        Self { changes: vec![change], reply: Reply::Created(id.to_string()) }
    }
}

/// Carries out `call`; only the leader succeeds.
///
/// A refused write is decided anew on what is there by then: the caller learns of a real conflict
/// from the check itself, in its own words.
///
/// # Errors
/// The call does not fit the present state, or the write was not confirmed.
pub async fn call(
    store: &Store,
    call: Call,
    now: Timestamp,
    ids: &mut (dyn IdSource + Send),
) -> Result<Reply, CallError> {
    let mut attempt = 1;
    loop {
        let decision = decide(&store.snapshot(), &call, now, ids)?;
        match store.propose(decision.changes).await {
            Ok(_) => return Ok(decision.reply),
            Err(ProposeError::Refused(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Carries out `call` on the manager that leads.
///
/// # Errors
/// As [`call`](self::call); a demotion that would cost the quorum.
pub async fn lead(group: &RaftGroup, store: &Store, call: Call) -> Result<Reply, CallError> {
    node::check_quorum(&store.snapshot(), &group.view(), &call)?;
    self::call(store, call, store.now(), &mut OsIds).await
}

fn decide(
    tables: &Tables,
    call: &Call,
    now: Timestamp,
    ids: &mut dyn IdSource,
) -> Result<Decision, CallError> {
    match call {
        Call::UpdateCluster { version, spec, rotate_worker_token, rotate_manager_token } => {
            let rotate =
                cluster::Rotate { worker: *rotate_worker_token, manager: *rotate_manager_token };
            cluster::update(tables, *version, spec, rotate, ids)
        }
        Call::CreateService { spec } => service::create(tables, spec, now, ids),
        Call::UpdateService { id, version, spec } => match spec {
            Some(spec) => service::update(tables, id, *version, spec, now),
            None => service::roll_back(tables, id, *version, now),
        },
        Call::RemoveService { id } => service::remove(tables, id),
        Call::CreateNetwork { spec } => network::create(tables, spec, now, ids),
        Call::RemoveNetwork { id } => network::remove(tables, id),
        Call::UpdateNode { id, version, spec } => node::update(tables, id, *version, spec),
        Call::RemoveNode { id, force } => node::remove(tables, id, *force),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use swarmnet_model::{Clock, Version};
    use tokio::sync::watch;

    use super::*;
    use crate::store::{Proposer, Refused, Transaction, apply};
    use crate::world::{START, World, spec};

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            START
        }
    }

    fn create(name: &str) -> Call {
        Call::CreateService { spec: Box::new(spec(name)) }
    }

    #[tokio::test]
    async fn a_created_service_is_in_the_store_when_the_call_returns() {
        let store = Store::in_memory(World::given("").tables, Arc::new(Still));
        let reply = call(&store, create("web"), START, &mut OsIds).await.unwrap();
        let Reply::Created(id) = reply else { panic!("an id is expected") };
        let tables = store.snapshot();
        assert_eq!(tables.services.keys().next().unwrap().as_str(), id);
    }

    /// Loses every race at first: somebody else creates the same name in between.
    struct Racing {
        tables: watch::Sender<Arc<Tables>>,
    }

    #[async_trait]
    impl Proposer for Racing {
        async fn propose(&self, transaction: Transaction) -> Result<Version, ProposeError> {
            let index = self.tables.borrow().version.0 + 1;
            let (tables, outcome) = apply(&self.tables.borrow(), index, &transaction);
            outcome.expect("the first proposal fits");
            self.tables.send_replace(Arc::new(tables));
            let (kind, id) = ("service".to_owned(), "web".to_owned());
            Err(ProposeError::Refused(Refused::Exists { kind, id }))
        }
    }

    #[tokio::test]
    async fn a_lost_race_is_told_in_the_words_of_the_check() {
        let (sender, receiver) = watch::channel(Arc::new(World::given("").tables));
        let store = Store::new(receiver, Arc::new(Racing { tables: sender }), Arc::new(Still));
        let error = call(&store, create("web"), START, &mut OsIds).await.unwrap_err();
        assert_eq!(
            error.message,
            "name conflicts with an existing object: service web already exists"
        );
    }

    /// Refuses everything.
    struct Closed;

    #[async_trait]
    impl Proposer for Closed {
        async fn propose(&self, _: Transaction) -> Result<Version, ProposeError> {
            let (kind, id) = ("service".to_owned(), "web".to_owned());
            Err(ProposeError::Refused(Refused::Conflict { kind, id }))
        }
    }

    #[tokio::test]
    async fn a_race_that_is_lost_again_and_again_ends() {
        let (_sender, receiver) = watch::channel(Arc::new(World::given("").tables));
        let store = Store::new(receiver, Arc::new(Closed), Arc::new(Still));
        let error = call(&store, create("web"), START, &mut OsIds).await.unwrap_err();
        assert_eq!(error, CallError::out_of_sequence());
    }
}
