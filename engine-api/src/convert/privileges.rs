//! Pure: security settings of a container. Those that this version cannot enforce are refused, never
//! dropped.

use serde_json::Value;

use crate::error::ApiError;
use crate::json::wire;

wire! {
    Privileges {
        // For Windows; kept in the spec, without effect on Linux.
        "CredentialSpec" => credential_spec: Option<Value>,
        "SELinuxContext" => se_linux: Option<Value>,
        "Seccomp" => seccomp: Option<Value>,
        "AppArmor" => app_armor: Option<Value>,
        "NoNewPrivileges" => no_new_privileges: bool,
    }
}

/// Lets through what asks for nothing.
///
/// # Errors
/// 501 naming the setting.
pub(crate) fn check(privileges: &Privileges) -> Result<(), ApiError> {
    let asks = |setting: &Option<Value>| {
        setting.as_ref().is_some_and(|value| {
            value.as_object().is_none_or(|members| members.values().any(|v| !is_default(v)))
        })
    };
    if asks(&privileges.se_linux) {
        return Err(ApiError::unsupported("Privileges.SELinuxContext is"));
    }
    if asks(&privileges.seccomp) {
        return Err(ApiError::unsupported("Privileges.Seccomp is"));
    }
    if asks(&privileges.app_armor) {
        return Err(ApiError::unsupported("Privileges.AppArmor is"));
    }
    if privileges.no_new_privileges {
        return Err(ApiError::unsupported("Privileges.NoNewPrivileges is"));
    }
    Ok(())
}

fn is_default(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
        || value.as_str().is_some_and(|text| matches!(text, "" | "default"))
}
