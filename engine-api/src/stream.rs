//! Upgraded connections: bytes both ways until both sides are done.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Joins a client's upgraded connection with the engine's.
///
/// The end of one direction is passed on as the end of that direction only: `docker exec -i` closes
/// its input and still waits for the output. Ends when both directions have, when either side
/// breaks, or when the server stops.
pub(crate) async fn tunnel(
    client: OnUpgrade,
    engine: OnUpgrade,
    connection: AbortOnDropHandle<()>,
    cancel: CancellationToken,
) {
    let copied = async {
        let (client, engine) = tokio::try_join!(client, engine).ok()?;
        // The upgrade has taken the connection over; its driver has nothing left to do.
        drop(connection);
        copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(engine)).await.ok()
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        // A side that breaks is how such connections end; the other one sees it.
        _bytes = copied => {}
    }
}
