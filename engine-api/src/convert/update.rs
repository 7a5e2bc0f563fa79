//! Pure: update and restart settings.

use std::time::Duration;

use swarmnet_model::restart::{RestartCondition, RestartPolicy};
use swarmnet_model::{CallError, FailureAction, UpdateConfig, UpdateOrder};

use crate::error::ApiError;
use crate::json::wire;

wire! {
    UpdateBody {
        "Parallelism" => parallelism: u64,
        "Delay" => delay: i64,
        "FailureAction" => failure_action: String,
        "Monitor" => monitor: i64,
        "MaxFailureRatio" => max_failure_ratio: f32,
        "Order" => order: String,
    }
}

wire! {
    RestartBody {
        "Condition" => condition: String,
        "Delay" => delay: Option<i64>,
        "MaxAttempts" => max_attempts: Option<u64>,
        "Window" => window: Option<i64>,
    }
}

/// Reads an update (or rollback) configuration.
///
/// # Errors
/// 400 with Docker's texts for unknown words and values out of range.
pub(crate) fn update_config(body: UpdateBody) -> Result<UpdateConfig, ApiError> {
    if !(0.0..=1.0).contains(&body.max_failure_ratio) {
        let text = "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1";
        return Err(CallError::invalid(text).into());
    }
    let monitor = nanoseconds(body.monitor, "update-monitor")?;
    Ok(UpdateConfig {
        parallelism: body.parallelism,
        delay: nanoseconds(body.delay, "update-delay")?,
        failure_action: failure_action(&body.failure_action)?,
        monitor: Some(monitor).filter(|monitor| !monitor.is_zero()),
        max_failure_ratio: body.max_failure_ratio,
        order: order(&body.order)?,
    })
}

/// Reads a restart policy.
///
/// # Errors
/// As [`update_config`].
pub(crate) fn restart_policy(body: RestartBody) -> Result<RestartPolicy, ApiError> {
    let delay = body.delay.map(|delay| nanoseconds(delay, "restart-delay")).transpose()?;
    Ok(RestartPolicy {
        condition: condition(&body.condition)?,
        delay,
        max_attempts: body.max_attempts.unwrap_or(0),
        window: nanoseconds(body.window.unwrap_or(0), "restart-window")?,
    })
}

fn nanoseconds(value: i64, field: &str) -> Result<Duration, ApiError> {
    let value = u64::try_from(value)
        .map_err(|_| CallError::invalid(format!("TaskSpec: {field} cannot be negative")))?;
    Ok(Duration::from_nanos(value))
}

fn failure_action(word: &str) -> Result<FailureAction, ApiError> {
    match word {
        "" | "pause" => Ok(FailureAction::Pause),
        "continue" => Ok(FailureAction::Continue),
        "rollback" => Ok(FailureAction::Rollback),
        _ => Err(ApiError::bad_request(format!("unrecognized update failure action {word}"))),
    }
}

fn order(word: &str) -> Result<UpdateOrder, ApiError> {
    match word {
        "" | "stop-first" => Ok(UpdateOrder::StopFirst),
        "start-first" => Ok(UpdateOrder::StartFirst),
        _ => Err(ApiError::bad_request(format!("unrecognized update order {word}"))),
    }
}

fn condition(word: &str) -> Result<RestartCondition, ApiError> {
    match word {
        "" | "any" => Ok(RestartCondition::Any),
        "none" => Ok(RestartCondition::None),
        "on-failure" => Ok(RestartCondition::OnFailure),
        _ => Err(ApiError::bad_request(format!("invalid RestartCondition: {word:?}"))),
    }
}
