//! Pure: why a proposal was not applied, and what the API's caller reads about it.

use swarmnet_model::limits::TRANSACTION_BYTES_MAX;
use swarmnet_model::{CallError, Code, NodeId};

use super::{Refused, Transaction};

/// Who leads, as far as this manager knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    pub node_id: NodeId,
    /// `host:port` of its control port.
    pub addr: String,
}

/// A proposal that was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// A guard failed; nothing was applied.
    #[error("the transaction was refused")]
    Refused(#[source] Refused),
    /// This manager does not lead. If it lost the lead while it waited, the entry may still be
    /// applied by the next leader.
    #[error("this manager does not lead")]
    NotLeader { leader: Option<LeaderHint> },
    /// Raft has stopped here; whether the entry is applied elsewhere is not known.
    #[error("Raft has stopped on this manager")]
    Unavailable,
    /// Too few managers confirmed in time; the entry may still be applied later.
    #[error("too few managers confirmed the transaction in time")]
    TimedOut,
    /// Nothing was sent.
    #[error("the transaction has {bytes} bytes, more than the {TRANSACTION_BYTES_MAX} of an entry")]
    TooLarge { bytes: usize },
}

impl From<ProposeError> for CallError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Refused(Refused::Conflict { .. }) => Self::out_of_sequence(),
            ProposeError::Refused(Refused::Missing { kind, id }) => Self::not_found(&kind, &id),
            ProposeError::Refused(refused @ Refused::Exists { .. }) => {
                Self::manager(Code::AlreadyExists, refused.to_string())
            }
            ProposeError::Refused(refused @ Refused::InUse { .. }) => {
                Self::manager(Code::FailedPrecondition, refused.to_string())
            }
            ProposeError::NotLeader { .. } | ProposeError::Unavailable => Self::no_leader(),
            ProposeError::TimedOut => Self::deadline(),
            ProposeError::TooLarge { .. } => {
                Self::invalid("raft: raft message is too large and can't be sent")
            }
        }
    }
}

/// Refuses a transaction that is too large for one entry.
pub(super) fn check_size(transaction: &Transaction) -> Result<(), ProposeError> {
    let bytes = swarmnet_proto::document::encode(transaction).len();
    if bytes > TRANSACTION_BYTES_MAX { Err(ProposeError::TooLarge { bytes }) } else { Ok(()) }
}
