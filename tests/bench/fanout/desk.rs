//! Calls to the leader in the name of a node, by its certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use swarmnet_model::{AttachCall, Attachment, CallError, SecretText};
use swarmnet_proto::transport::{NodeIdentity, TlsContext};
use swarmnet_proto::v1::dispatcher_client::DispatcherClient;
use swarmnet_proto::{document, v1};

/// The leader in a lab that was just formed.
const LEADER: &str = "10.20.20.100:2377";
/// The host of a lab that has nothing to do but to ask.
const CLIENT: &str = "client";

type Called = (AttachCall, mpsc::Sender<(Instant, Vec<Attachment>)>);

/// A node's connection to the leader, on a thread of its own.
pub(super) struct Desk {
    calls: mpsc::Sender<Called>,
}

/// An answer that may still be on its way.
pub(super) struct Answer(mpsc::Receiver<(Instant, Vec<Attachment>)>);

impl Answer {
    /// Returns when it came, and what it was.
    pub(super) fn wait(self) -> (Instant, Vec<Attachment>) {
        self.0.recv().expect("the leader has done what it was asked")
    }
}

impl Desk {
    pub(super) fn of(lab: &str, host: &str) -> Self {
        let directory = PathBuf::from(format!(
            "/var/lib/swarmnet-lab/{lab}/hosts/{host}/swarmnet/certificates"
        ));
        let identity = identity(&directory);
        let network = fs::File::open(format!("/run/netns/{lab}-{CLIENT}")).unwrap();
        let (calls, called) = mpsc::channel();
        std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            serve(&identity, &called);
        });
        Self { calls }
    }

    /// Sends a call off.
    pub(super) fn begin(&self, call: AttachCall) -> Answer {
        let (reply, answer) = mpsc::channel();
        self.calls.send((call, reply)).expect("the thread has not panicked");
        Answer(answer)
    }
}

fn serve(identity: &NodeIdentity, called: &mpsc::Receiver<Called>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tls = TlsContext::new(identity).expect("the node's certificate");
    let channel = runtime.block_on(async { tls.channel(LEADER) });
    let mut leader = DispatcherClient::new(channel);
    while let Ok((call, reply)) = called.recv() {
        let request = v1::AttachRequest { call: document::encode(&call) };
        let answer = runtime.block_on(leader.attach(request)).expect("the leader answers");
        let answered = Instant::now();
        let result = &answer.into_inner().result;
        let given = document::decode::<Result<Vec<Attachment>, CallError>>("result", result);
        // Whoever has asked may have failed meanwhile.
        let _gone = reply.send((answered, given.unwrap().unwrap()));
    }
}

fn identity(directory: &Path) -> NodeIdentity {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    NodeIdentity {
        certificate_pem: read("swarm-node.crt"),
        key_pem: SecretText::new(read("swarm-node.key")),
        root_ca_pem: read("swarm-root-ca.crt"),
    }
}
