//! Configs. This version keeps none: lists are empty, every reference is unknown, create says so.

use swarmnet_model::CallError;

use crate::app::Exchange;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Answer};
use crate::version::ApiVersion;

const FILTERS: [&str; 3] = ["id", "name", "label"];
const SINCE: ApiVersion = ApiVersion::new(1, 30);

pub(crate) async fn list(x: Exchange) -> Answer {
    since(&x, SINCE)?;
    Filters::parse(x.query.get("filters"), &FILTERS)?;
    x.app.tables().await?;
    reply::ok(&[(); 0])
}

pub(crate) async fn create(x: Exchange) -> Answer {
    since(&x, SINCE)?;
    x.app.tables().await?;
    Err(ApiError::unsupported("configs are"))
}

/// Answers what names one config.
pub(crate) async fn find(x: Exchange, id: &str) -> Answer {
    since(&x, SINCE)?;
    x.app.tables().await?;
    Err(CallError::not_found("config", id).into())
}

/// Refuses requests in a version that did not have the route.
pub(super) fn since(x: &Exchange, version: ApiVersion) -> Result<(), ApiError> {
    if x.version >= version {
        return Ok(());
    }
    let (method, path) = (x.request.method(), &x.path.rest);
    Err(ApiError::bad_request(format!("{method} {path} requires minimum API version {version}")))
}
