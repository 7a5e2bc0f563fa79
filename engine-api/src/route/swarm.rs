//! The swarm itself: init, join, leave, settings, tokens.

use std::future::Future;

use http::StatusCode;
use ipnetwork::Ipv4Network;
use serde_json::{Value, json};
use swarmnet_model::defaults::CONTROL_PORT;
use swarmnet_model::{Call, CallError, ClusterSpec};
use tokio::time::timeout;

use crate::app::Exchange;
use crate::control_plane::{InitRequest, JoinRequest, LocalState};
use crate::convert::availability::availability_or_active;
use crate::convert::swarm as convert;
use crate::error::ApiError;
use crate::json::{typed, wire};
use crate::limits::MEMBERSHIP_CALL;
use crate::reply::{self, Answer};
use crate::route::info::check_engine_is_free;
use crate::version::ApiVersion;

wire! {
    Init {
        "ListenAddr" => listen_addr: String,
        "AdvertiseAddr" => advertise_addr: String,
        "DataPathAddr" => data_path_addr: String,
        "DataPathPort" => data_path_port: u32,
        "DefaultAddrPool" => address_pools: Vec<String>,
        "SubnetSize" => subnet_size: u32,
        "ForceNewCluster" => force_new_cluster: bool,
        "AutoLockManagers" => auto_lock_managers: bool,
        "Availability" => availability: String,
        "Spec" => spec: convert::SwarmSpec,
    }
}

wire! {
    Join {
        "ListenAddr" => listen_addr: String,
        "AdvertiseAddr" => advertise_addr: String,
        "DataPathAddr" => data_path_addr: String,
        "RemoteAddrs" => remote_addrs: Vec<String>,
        "JoinToken" => join_token: String,
        "Availability" => availability: String,
    }
}

wire! { Unlock { "UnlockKey" => unlock_key: String, } }

const ALREADY_MEMBER: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to \
                              leave this swarm and join another one.";

pub(crate) async fn inspect(x: Exchange) -> Answer {
    let tables = x.app.tables().await?;
    let cluster = tables.cluster.as_ref().ok_or_else(CallError::no_leader)?;
    reply::ok(&convert::cluster_with_tokens(cluster))
}

pub(crate) async fn init(mut x: Exchange) -> Answer {
    let document = x.document::<Init>().await?.value;
    let mut wanted: Init = typed(&document)?;
    if x.version < ApiVersion::new(1, 39) {
        wanted.address_pools = Vec::new();
        wanted.subnet_size = 0;
    }
    if x.version < ApiVersion::new(1, 40) {
        wanted.data_path_port = 0;
    }
    let spec = document.get("Spec").cloned().unwrap_or_else(|| json!({}));
    let request = init_request(wanted, spec)?;
    let state = x.app.control.local_node().state;
    if state != LocalState::Inactive && !request.force_new_cluster {
        return Err(ApiError::unavailable(ALREADY_MEMBER));
    }
    check_engine_is_free(&x.app).await?;
    let node_id = bounded(x.app.control.init(request)).await?;
    reply::ok(&node_id)
}

pub(crate) async fn join(mut x: Exchange) -> Answer {
    let document = x.document::<Join>().await?;
    let request = join_request(typed(&document.value)?)?;
    if x.app.control.local_node().state != LocalState::Inactive {
        return Err(ApiError::unavailable(ALREADY_MEMBER));
    }
    check_engine_is_free(&x.app).await?;
    bounded(x.app.control.join(request)).await?;
    reply::empty(StatusCode::OK)
}

pub(crate) async fn leave(x: Exchange) -> Answer {
    bounded(x.app.control.leave(x.query.is_on("force"))).await?;
    reply::empty(StatusCode::OK)
}

/// Not one of Docker's: `swarmnet connectivity test` asks for it.
pub(crate) async fn test_connectivity(x: Exchange) -> Answer {
    reply::ok(&bounded(x.app.control.test_connectivity()).await?)
}

pub(crate) async fn update(mut x: Exchange) -> Answer {
    let document = x.document::<convert::SwarmSpec>().await?.value;
    let version = x.query.version("swarm")?;
    let rotate_worker_token = x.query.rotation("rotateWorkerToken")?;
    let rotate_manager_token = x.query.rotation("rotateManagerToken")?;
    if x.query.rotation("rotateManagerUnlockKey")? {
        return Err(ApiError::unsupported("autolock is"));
    }
    let tables = x.app.tables().await?;
    let cluster = tables.cluster.as_ref().ok_or_else(CallError::no_leader)?;
    let spec = convert::spec(document, &cluster.spec)?;
    let call = Call::UpdateCluster { version, spec, rotate_worker_token, rotate_manager_token };
    x.app.ask(call).await?;
    reply::empty(StatusCode::OK)
}

/// Empty, as with Docker while autolock is off.
pub(crate) async fn unlock_key(x: Exchange) -> Answer {
    x.app.tables().await?;
    reply::ok(&json!({"UnlockKey": ""}))
}

pub(crate) async fn unlock(mut x: Exchange) -> Answer {
    let document = x.document::<Unlock>().await?;
    let _wanted: Unlock = typed(&document.value)?;
    Err(ApiError::new(StatusCode::CONFLICT, "swarm is not locked"))
}

async fn bounded<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, ApiError> {
    Ok(timeout(MEMBERSHIP_CALL, call).await.map_err(|_| CallError::deadline())??)
}

fn init_request(wanted: Init, spec: Value) -> Result<InitRequest, ApiError> {
    if wanted.auto_lock_managers {
        return Err(ApiError::unsupported("autolock is"));
    }
    if !matches!(wanted.data_path_port, 0 | 1024..=49151) {
        let port = wanted.data_path_port;
        return Err(ApiError::bad_request(format!(
            "Datapath port number is not in valid range (1024-49151) : {port}"
        )));
    }
    let (address_pools, subnet_size_bits) = pools(&wanted.address_pools, wanted.subnet_size)?;
    Ok(InitRequest {
        listen_addr: with_port("ListenAddr", &wanted.listen_addr)?,
        advertise_addr: wanted.advertise_addr,
        data_path_addr: wanted.data_path_addr,
        data_path_port: wanted.data_path_port,
        address_pools,
        subnet_size_bits,
        force_new_cluster: wanted.force_new_cluster,
        availability: availability_or_active(&wanted.availability)?,
        spec: convert::spec(spec, &ClusterSpec::default())?,
    })
}

fn join_request(wanted: Join) -> Result<JoinRequest, ApiError> {
    let listen_addr = with_port("ListenAddr", &wanted.listen_addr)?;
    if wanted.remote_addrs.is_empty() {
        return Err(ApiError::bad_request("at least 1 RemoteAddr is required to join"));
    }
    let remote_addrs = wanted.remote_addrs.iter().map(|addr| with_port("remote address", addr));
    Ok(JoinRequest {
        listen_addr,
        advertise_addr: wanted.advertise_addr,
        data_path_addr: wanted.data_path_addr,
        remote_addrs: remote_addrs.collect::<Result<_, _>>()?,
        token: wanted.join_token,
        availability: availability_or_active(&wanted.availability)?,
    })
}

/// Adds the default port to an address without one.
fn with_port(what: &str, addr: &str) -> Result<String, ApiError> {
    let invalid =
        |reason: &str| ApiError::bad_request(format!("invalid {what} {addr:?}: {reason}"));
    match addr.rsplit_once(':') {
        _ if addr.is_empty() => Err(invalid("invalid empty address")),
        None => Ok(format!("{addr}:{CONTROL_PORT}")),
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(addr.to_owned()),
        Some(_) => Err(invalid("invalid port")),
    }
}

/// Reads pools and the size of their subnets; 0 bits = the default.
fn pools(texts: &[String], size: u32) -> Result<(Vec<Ipv4Network>, u8), ApiError> {
    let out_of_range = || ApiError::bad_request(format!("subnet size is out of range: {size}"));
    let bits = u8::try_from(size).map_err(|_| out_of_range())?;
    Ok((texts.iter().map(|text| pool(text)).collect::<Result<_, _>>()?, bits))
}

fn pool(text: &str) -> Result<Ipv4Network, ApiError> {
    if text.contains(':') {
        return Err(ApiError::unsupported(&format!("address pool {text}: IPv6 pools are")));
    }
    let digits = |length: &str| length.bytes().all(|byte| byte.is_ascii_digit());
    let pool = match text.split_once('/') {
        Some((_, length)) if digits(length) => text.parse::<Ipv4Network>().ok(),
        _ => None,
    };
    let pool = pool.ok_or_else(|| {
        let reason = format!("invalid CIDR address: {text}");
        ApiError::bad_request(format!("invalid base pool {text}: {reason}"))
    })?;
    let whole = Ipv4Network::new(pool.network(), pool.prefix());
    Ok(whole.expect("a prefix that was parsed is in range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(wanted: Init) -> String {
        init_request(wanted, json!({})).unwrap_err().message().to_owned()
    }

    fn good() -> Init {
        Init { listen_addr: "0.0.0.0:2377".to_owned(), ..Init::default() }
    }

    #[test]
    fn init_is_checked_before_anything_happens() {
        let request = init_request(good(), json!({})).unwrap();
        assert_eq!((request.data_path_port, request.subnet_size_bits), (0, 0));
        assert_eq!(refused(Init::default()), "invalid ListenAddr \"\": invalid empty address");
        assert_eq!(
            refused(Init { data_path_port: 80, ..good() }),
            "Datapath port number is not in valid range (1024-49151) : 80"
        );
        assert_eq!(
            refused(Init { subnet_size: 300, ..good() }),
            "subnet size is out of range: 300"
        );
        let pool = |text: &str| refused(Init { address_pools: vec![text.to_owned()], ..good() });
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/255.0.0.0", "x/8", ""] {
            assert_eq!(pool(bad), format!("invalid base pool {bad}: invalid CIDR address: {bad}"));
        }
        assert_eq!(
            pool("fd00::/48"),
            "address pool fd00::/48: IPv6 pools are not supported by this version of swarmnet"
        );
        assert_eq!(
            refused(Init { availability: "x".to_owned(), ..good() }),
            "invalid Availability: \"x\""
        );
    }

    #[test]
    fn join_needs_a_manager_and_adds_the_default_port() {
        let wanted = Join { listen_addr: "eth0".to_owned(), ..Join::default() };
        assert_eq!(
            join_request(wanted.clone()).unwrap_err().message(),
            "at least 1 RemoteAddr is required to join"
        );
        let remote_addrs = vec!["10.20.20.100".to_owned(), "master:99".to_owned()];
        let request = join_request(Join { remote_addrs, ..wanted }).unwrap();
        assert_eq!(request.remote_addrs, ["10.20.20.100:2377", "master:99"]);
        assert_eq!(request.listen_addr, "eth0:2377");
    }
}
