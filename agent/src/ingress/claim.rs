//! Taking the host-mode ports of a task before its container starts.
//!
//! A port of the mesh is served beside another program's socket, because the whole cluster was told
//! about it. A host-mode port belongs to one container, which must not start without it.

use std::io;

use swarmnet_model::Protocol;
use swarmnet_model::view::AssignedTask;

use super::holder;
use super::placeholder::Placeholders;

/// A port that the task cannot have.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("port {port}/{protocol} of this node is in use by {holder}")]
    HeldBy { port: u16, protocol: Protocol, holder: String },
    #[error("port {port}/{protocol} of this node cannot be taken: {source}")]
    Refused { port: u16, protocol: Protocol, source: io::Error },
}

/// Takes every host-mode port of a task. What was taken is given back by the next pass if the task
/// does not come to use it.
///
/// # Errors
/// `ClaimError` for the first port that another program has.
pub async fn claim(placeholders: &mut Placeholders, task: &AssignedTask) -> Result<(), ClaimError> {
    for port in task.task.host_ports() {
        let key = (port.protocol.number(), port.published_port);
        if placeholders.held().contains(&key) {
            continue;
        }
        if let Err(source) = placeholders.hold(key) {
            return Err(explain(port.protocol, port.published_port, source).await);
        }
    }
    Ok(())
}

async fn explain(protocol: Protocol, port: u16, source: io::Error) -> ClaimError {
    if source.kind() == io::ErrorKind::AddrInUse {
        // Reads /proc of every process.
        let search = tokio::task::spawn_blocking(move || holder::find(protocol, port)).await;
        if let Ok(Some(holder)) = search {
            return ClaimError::HeldBy { port, protocol, holder };
        }
    }
    ClaimError::Refused { port, protocol, source }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use std::sync::Arc;

    use swarmnet_model::{DesiredState, PortSpec, PublishMode};

    use super::*;
    use crate::task::fixture;

    fn task(port: u16) -> AssignedTask {
        let mut assigned = fixture::assigned("web", 1, DesiredState::Running);
        Arc::make_mut(&mut assigned.task).endpoint_spec.ports = vec![PortSpec {
            name: String::new(),
            protocol: Protocol::Tcp,
            target_port: 80,
            published_port: port,
            mode: PublishMode::Host,
        }];
        assigned
    }

    #[tokio::test]
    async fn a_port_of_another_program_is_refused_with_its_name_until_it_is_free() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut placeholders = Placeholders::default();
        let refused = claim(&mut placeholders, &task(port)).await.unwrap_err().to_string();
        let own = format!("port {port}/tcp of this node is in use by ");
        let process = format!(" (pid {})", std::process::id());
        assert!(refused.starts_with(&own) && refused.ends_with(&process), "{refused}");
        drop(listener);
        claim(&mut placeholders, &task(port)).await.unwrap();
        claim(&mut placeholders, &task(port)).await.expect("our own socket is no obstacle");
        assert!(TcpListener::bind(("0.0.0.0", port)).is_err(), "the port is held");
    }
}
