//! What nodes tell of themselves and their tasks, of many callers in one Raft entry: thousands of
//! nodes that report at once cost few writes.
//!
//! While one entry is written, what comes meanwhile waits for the next. Only for changes that `apply`
//! never refuses: one caller's must not take the others' down.

use swarmnet_model::limits::CHANGES_PER_TRANSACTION;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::store::{Change, ProposeError, Store};

/// What one caller wants written.
#[derive(Debug)]
pub struct Write {
    pub changes: Vec<Change>,
    pub answer: oneshot::Sender<Result<(), ProposeError>>,
}

/// Writes until cancelled; callers that still wait then hear nothing more.
pub async fn run(store: Store, mut writes: mpsc::Receiver<Write>, cancel: CancellationToken) {
    let work = async {
        while let Some(first) = writes.recv().await {
            let group = gather(first, &mut writes);
            write(&store, group).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Takes what is waiting already, up to the size of an entry.
fn gather(first: Write, writes: &mut mpsc::Receiver<Write>) -> Vec<Write> {
    let mut changes = first.changes.len();
    let mut group = vec![first];
    while changes < CHANGES_PER_TRANSACTION {
        let Ok(next) = writes.try_recv() else { break };
        changes += next.changes.len();
        group.push(next);
    }
    group
}

/// Writes the group in one entry, or in several if that is too large.
async fn write(store: &Store, group: Vec<Write>) {
    let mut groups = vec![group];
    while let Some(mut group) = groups.pop() {
        let changes: Vec<Change> = group.iter().flat_map(|write| &write.changes).cloned().collect();
        let written = match store.propose(changes.clone()).await.map(drop) {
            Err(ProposeError::TooLarge { .. }) if group.len() > 1 => {
                let rest = group.split_off(group.len() / 2);
                groups.extend([rest, group]);
                continue;
            }
            Err(ProposeError::TooLarge { .. }) => write_apart(store, changes).await,
            written => written,
        };
        for write in group {
            // The caller may have given up; what is written stands.
            let _ = write.answer.send(written.clone());
        }
    }
}

/// Writes what one caller has brought: a thousand tasks with long errors are more than an entry, and
/// a node that was refused would bring the same again.
async fn write_apart(store: &Store, changes: Vec<Change>) -> Result<(), ProposeError> {
    let mut parts = vec![changes];
    while let Some(mut part) = parts.pop() {
        match store.propose(part.clone()).await {
            Err(ProposeError::TooLarge { .. }) if part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
            }
            written => drop(written?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use swarmnet_model::{
        Clock, NodeId, Tables, TaskId, TaskState, TaskStatus, Timestamp, Version,
    };
    use tokio::sync::watch;
    use tokio::task::JoinSet;

    use super::*;
    use crate::store::{Proposer, Transaction};

    struct StillClock;

    impl Clock for StillClock {
        fn now(&self) -> Timestamp {
            Timestamp(1)
        }
    }

    /// Notes the sizes of entries.
    struct Notes(Arc<Mutex<Vec<usize>>>);

    #[async_trait]
    impl Proposer for Notes {
        async fn propose(&self, transaction: Transaction) -> Result<Version, ProposeError> {
            self.0.lock().unwrap().push(transaction.changes.len());
            Ok(Version(1))
        }
    }

    fn report(text: &str) -> Change {
        let (id, node_id) = (TaskId::from_text("t"), NodeId::from_text("n"));
        let status = Box::new(TaskStatus::new(Timestamp(1), TaskState::Running, text));
        Change::ReportTask { id, node_id, status }
    }

    /// Returns the sizes of the entries when all callers wait already, and what they heard.
    async fn entries(callers: &[Vec<Change>]) -> (Vec<usize>, Vec<Result<(), ProposeError>>) {
        let sizes = Arc::default();
        let notes = Notes(Arc::clone(&sizes));
        let tables = watch::channel(Arc::new(Tables::default())).1;
        let store = Store::new(tables, Arc::new(notes), Arc::new(StillClock));
        let (sender, receiver) = mpsc::channel(callers.len());
        let mut answers = Vec::new();
        for changes in callers {
            let (answer, heard) = oneshot::channel();
            sender.send(Write { changes: changes.clone(), answer }).await.unwrap();
            answers.push(heard);
        }
        let (mut running, cancel) = (JoinSet::new(), CancellationToken::new());
        running.spawn(run(store, receiver, cancel.clone()));
        let mut heard = Vec::new();
        for answer in answers {
            heard.push(answer.await.unwrap());
        }
        cancel.cancel();
        while running.join_next().await.is_some() {}
        let sizes = sizes.lock().unwrap().clone();
        (sizes, heard)
    }

    #[tokio::test]
    async fn what_waits_is_written_together_up_to_the_size_of_an_entry() {
        let half = vec![report("said"); CHANGES_PER_TRANSACTION / 2];
        let (sizes, heard) = entries(&[half.clone(), half.clone(), half.clone()]).await;
        assert_eq!(sizes, [2 * half.len(), half.len()]);
        assert_eq!(heard, [Ok(()), Ok(()), Ok(())]);
    }

    #[tokio::test]
    async fn what_is_too_large_together_is_written_apart() {
        let large = vec![report(&"x".repeat(1 << 20))];
        let small = vec![report("said")];
        let too_large = vec![report(&"x".repeat(2 << 20))];
        let (sizes, heard) = entries(&[large.clone(), large, too_large, small]).await;
        assert_eq!(sizes, [1, 1, 1]);
        assert_eq!(heard[..2], [Ok(()), Ok(())]);
        assert!(matches!(heard[2], Err(ProposeError::TooLarge { .. })));
        assert_eq!(heard[3], Ok(()));
    }

    #[tokio::test]
    async fn what_one_caller_brings_is_written_however_much_it_is() {
        let pages = report(&"x".repeat(2_048));
        let (sizes, heard) = entries(&[vec![pages; CHANGES_PER_TRANSACTION]]).await;
        assert_eq!(heard, [Ok(())]);
        assert!(sizes.len() > 1, "more than an entry holds");
        assert_eq!(sizes.iter().sum::<usize>(), CHANGES_PER_TRANSACTION);
    }
}
