//! Becoming a node: pin the root, show the token, get a certificate; again until it works or never
//! can.

use std::net::Ipv4Addr;
use std::time::Duration;

use swarmnet_engine_api::JoinRequest;
use swarmnet_manager::ca::{BadToken, JoinToken, LEADER_METADATA, NodeKey};
use swarmnet_model::defaults::CONTROL_PORT;
use swarmnet_model::limits::CALL_TIMEOUT;
use swarmnet_model::{CallError, Code};
use swarmnet_proto::transport::join::{JoinError, channel_to_pinned_root, fetch_root};
use swarmnet_proto::transport::{NodeIdentity, RootDigest};
use swarmnet_proto::v1::ca_client::CaClient;
use swarmnet_proto::v1::{IssueRequest, IssueResponse};
use tonic::{Code as Grpc, Status};

/// Pause after the first failed round; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// A checked join request.
#[derive(Clone, Debug)]
pub(crate) struct JoinPlan {
    /// `host:port` each.
    pub(crate) remotes: Vec<String>,
    token: JoinToken,
    availability: &'static str,
    advertise: Option<Ipv4Addr>,
    key: NodeKey,
}

/// What the managers gave.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) identity: NodeIdentity,
    /// The one that answered first.
    pub(crate) managers: Vec<String>,
}

/// Why a round gave no certificate.
#[derive(Debug)]
enum Failure {
    /// Trying again cannot help.
    Final(CallError),
    /// Another round may.
    Passing(String),
}

impl JoinPlan {
    /// Reads the token and makes the key.
    ///
    /// # Errors
    /// `invalid join token`; `at least 1 RemoteAddr is required to join`.
    pub(crate) fn new(
        request: &JoinRequest,
        advertise: Option<Ipv4Addr>,
    ) -> Result<Self, CallError> {
        if request.remote_addrs.is_empty() {
            let text = "at least 1 RemoteAddr is required to join";
            return Err(CallError::api(Code::InvalidArgument, text));
        }
        let token = JoinToken::parse(&request.token).map_err(
            |bad @ (BadToken::Malformed | BadToken::Fips)| {
                CallError::api(Code::InvalidArgument, bad.to_string())
            },
        )?;
        let key = NodeKey::generate()
            .map_err(|error| CallError::api(Code::Internal, error.to_string()))?;
        Ok(Self {
            remotes: request.remote_addrs.iter().map(|addr| with_port(addr)).collect(),
            token,
            availability: request.availability.as_str(),
            advertise,
            key,
        })
    }

    /// Asks every manager in turn, round after round, until one gives a certificate.
    ///
    /// # Errors
    /// Docker's text when the token can never be accepted.
    pub(crate) async fn run(self) -> Result<Joined, CallError> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.round().await {
                Ok(joined) => return Ok(joined),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(reason)) => {
                    tracing::warn!(%reason, "join not possible yet: trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn round(&self) -> Result<Joined, Failure> {
        let mut reasons = Vec::new();
        for addr in &self.remotes {
            match self.ask(addr).await {
                Err(Failure::Passing(reason)) => reasons.push(reason),
                other => return other,
            }
        }
        Err(Failure::Passing(reasons.join("; ")))
    }

    /// Asks one manager, and the leader it names if it does not lead.
    async fn ask(&self, addr: &str) -> Result<Joined, Failure> {
        let root =
            fetch_root(addr, self.token.digest()).await.map_err(|error| self.not_pinned(&error))?;
        let status = match self.issue(addr, &root).await {
            Ok(response) => return joined(&self.key, root, addr, response),
            Err(status) => status,
        };
        let leader = status.metadata().get(LEADER_METADATA).and_then(|addr| addr.to_str().ok());
        match leader.filter(|leader| *leader != addr) {
            None => Err(understand(addr, &status)),
            Some(leader) => match self.issue(leader, &root).await {
                Ok(response) => joined(&self.key, root, leader, response),
                Err(status) => Err(understand(leader, &status)),
            },
        }
    }

    /// The secret goes out only here, over a connection to the pinned root.
    async fn issue(&self, addr: &str, root: &str) -> Result<IssueResponse, Status> {
        let channel = channel_to_pinned_root(addr, root)
            .map_err(|error| Status::internal(error.to_string()))?;
        let request = IssueRequest {
            csr_pem: self.key.csr_pem.clone().into_bytes(),
            token: self.token.as_secret().expose().to_owned(),
            availability: self.availability.to_owned(),
            advertise_addr: self.advertise.map(|addr| addr.to_string()).unwrap_or_default(),
        };
        let mut client = CaClient::new(channel);
        let answer = tokio::time::timeout(CALL_TIMEOUT, client.issue(request)).await;
        Ok(answer.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner())
    }

    fn not_pinned(&self, error: &JoinError) -> Failure {
        match error {
            JoinError::Fingerprint => Failure::Final(CallError::api(
                Code::InvalidArgument,
                format!("{error}. Expected: {}", hex(self.token.digest())),
            )),
            JoinError::Unreachable { .. } | JoinError::NoManager { .. } | JoinError::BadRoot => {
                Failure::Passing(error.to_string())
            }
        }
    }
}

fn joined(
    key: &NodeKey,
    root_ca_pem: String,
    asked: &str,
    response: IssueResponse,
) -> Result<Joined, Failure> {
    let certificate_pem = String::from_utf8(response.certificate_pem)
        .map_err(|_| Failure::Passing(format!("{asked}: the certificate cannot be read")))?;
    let identity = NodeIdentity { certificate_pem, key_pem: key.key_pem.clone(), root_ca_pem };
    let mut managers = vec![asked.to_owned()];
    managers.extend(response.managers.into_iter().filter(|addr| addr != asked));
    Ok(Joined { identity, managers })
}

/// The classes in which the managers refuse for good; everything else may pass.
fn understand(addr: &str, status: &Status) -> Failure {
    let code = match status.code() {
        Grpc::InvalidArgument => Code::InvalidArgument,
        Grpc::PermissionDenied => Code::PermissionDenied,
        Grpc::FailedPrecondition => Code::FailedPrecondition,
        Grpc::Unimplemented => Code::Unimplemented,
        Grpc::Ok
        | Grpc::Cancelled
        | Grpc::Unknown
        | Grpc::DeadlineExceeded
        | Grpc::NotFound
        | Grpc::AlreadyExists
        | Grpc::ResourceExhausted
        | Grpc::Aborted
        | Grpc::OutOfRange
        | Grpc::Internal
        | Grpc::Unavailable
        | Grpc::DataLoss
        | Grpc::Unauthenticated => {
            return Failure::Passing(format!("{addr}: {}", status.message()));
        }
    };
    Failure::Final(CallError::manager(code, status.message()))
}

fn with_port(addr: &str) -> String {
    match addr.rsplit_once(':') {
        Some(_) => addr.to_owned(),
        None => format!("{addr}:{CONTROL_PORT}"),
    }
}

fn hex(digest: RootDigest) -> String {
    use std::fmt::Write;
    digest.0.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use swarmnet_model::Availability;

    use super::*;

    fn request(token: &str) -> JoinRequest {
        JoinRequest {
            listen_addr: "0.0.0.0:2377".into(),
            advertise_addr: String::new(),
            data_path_addr: String::new(),
            remote_addrs: vec!["10.20.20.100".into(), "10.20.20.110:99".into()],
            token: token.into(),
            availability: Availability::Active,
        }
    }

    const TOKEN: &str = "SWMTKN-1-0xdwn4gbg2dw815sd1iujcxomvqxt5dlm3fuqqphewrclky7xb-\
                         8grb89se7fgg71dttahmugmux";

    #[test]
    fn managers_without_a_port_are_asked_on_the_usual_one() {
        let plan = JoinPlan::new(&request(TOKEN), None).unwrap();
        assert_eq!(plan.remotes, ["10.20.20.100:2377", "10.20.20.110:99"]);
    }

    #[test]
    fn a_malformed_token_is_refused_in_dockers_words() {
        let error = JoinPlan::new(&request("SWMTKN-2-aaa"), None).unwrap_err();
        assert_eq!(
            (error.code, error.to_string().as_str()),
            (Code::InvalidArgument, "invalid join token")
        );
    }

    #[test]
    fn nobody_to_ask_is_refused_in_dockers_words() {
        let nobody = JoinRequest { remote_addrs: vec![], ..request(TOKEN) };
        let error = JoinPlan::new(&nobody, None).unwrap_err();
        assert_eq!(error.to_string(), "at least 1 RemoteAddr is required to join");
    }

    #[test]
    fn a_foreign_root_is_named_by_the_fingerprint_that_was_expected() {
        // Recorded: an engine that was given this token and asked another cluster.
        let token = format!("SWMTKN-1-{}q-azlz13wm1x6jl4vild0cvc9q0", "1".repeat(49));
        let plan = JoinPlan::new(&request(&token), None).unwrap();
        let Failure::Final(error) = plan.not_pinned(&JoinError::Fingerprint) else { panic!() };
        assert_eq!(
            error.to_string(),
            "remote CA does not match fingerprint. Expected: \
             2944b8970a9cfc7f3fa920aae5c0394bcc71682507507507507507507507508e"
        );
    }

    #[test]
    fn a_wrong_secret_ends_the_attempt_and_an_absent_leader_does_not() {
        let text = "A valid join token is necessary to join this cluster";
        let Failure::Final(error) = understand("m", &Status::invalid_argument(text)) else {
            panic!()
        };
        assert_eq!(error.to_string(), format!("rpc error: code = InvalidArgument desc = {text}"));
        let passing = understand("m:2377", &Status::unavailable("no leader"));
        assert!(matches!(passing, Failure::Passing(reason) if reason == "m:2377: no leader"));
    }
}
