//! Secrets. This version keeps none: lists are empty, every reference is unknown, create says so.

use crate::app::Exchange;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Answer};
use swarmnet_model::CallError;

const FILTERS: [&str; 4] = ["id", "name", "names", "label"];

pub(crate) async fn list(x: Exchange) -> Answer {
    check_version(&x)?;
    Filters::parse(x.query.get("filters"), &FILTERS)?;
    x.app.tables().await?;
    reply::ok(&[(); 0])
}

pub(crate) async fn create(x: Exchange) -> Answer {
    check_version(&x)?;
    x.app.tables().await?;
    Err(ApiError::unsupported("secrets are"))
}

/// Answers what names one secret.
pub(crate) async fn find(x: Exchange, id: &str) -> Answer {
    check_version(&x)?;
    x.app.tables().await?;
    Err(CallError::not_found("secret", id).into())
}

fn check_version(x: &Exchange) -> Result<(), ApiError> {
    super::config::since(x, crate::version::ApiVersion::new(1, 25))
}
