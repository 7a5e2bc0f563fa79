//! Pure: security settings of a container, as the engine takes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::ApiError;
use crate::json::wire;

wire! {
    Privileges {
        // For Windows; kept in the spec, without effect on Linux.
        "CredentialSpec" => credential_spec: Option<CredentialSpec>,
        "SELinuxContext" => se_linux: Option<SeLinux>,
        "Seccomp" => seccomp: Option<Seccomp>,
        "AppArmor" => app_armor: Option<AppArmor>,
        "NoNewPrivileges" => no_new_privileges: bool,
    }
}

wire! {
    CredentialSpec {
        "Config" => config: String,
        "File" => file: String,
        "Registry" => registry: String,
    }
}

wire! {
    SeLinux {
        "Disable" => disable: bool,
        "User" => user: String,
        "Role" => role: String,
        "Type" => kind: String,
        "Level" => level: String,
    }
}

// The profile is JSON in base64.
wire! { Seccomp { "Mode" => mode: String, "Profile" => profile: String, } }
wire! { AppArmor { "Mode" => mode: String, } }

/// Returns the engine's security options.
///
/// # Errors
/// 400 naming the setting.
pub(crate) fn security_options(privileges: Privileges) -> Result<Vec<String>, ApiError> {
    let mut options = se_linux(privileges.se_linux.unwrap_or_default())?;
    options.extend(seccomp(&privileges.seccomp.unwrap_or_default())?);
    match privileges.app_armor.unwrap_or_default().mode.as_str() {
        "" | "default" => {}
        "disabled" => options.push("apparmor=unconfined".to_owned()),
        other => return Err(invalid(&format!("AppArmor.Mode: {other:?}"))),
    }
    if privileges.no_new_privileges {
        options.push("no-new-privileges=true".to_owned());
    }
    Ok(options)
}

fn se_linux(context: SeLinux) -> Result<Vec<String>, ApiError> {
    let labels = [
        ("user", context.user),
        ("role", context.role),
        ("type", context.kind),
        ("level", context.level),
    ];
    let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
    let labels: Vec<_> = labels.map(|(name, value)| format!("label={name}:{value}")).collect();
    match (context.disable, labels.is_empty()) {
        (true, true) => Ok(vec!["label=disable".to_owned()]),
        (true, false) => Err(invalid("SELinuxContext: Disable excludes the other fields")),
        (false, _) => Ok(labels),
    }
}

fn seccomp(wanted: &Seccomp) -> Result<Option<String>, ApiError> {
    match (wanted.mode.as_str(), wanted.profile.is_empty()) {
        ("" | "default", true) => Ok(None),
        ("unconfined", true) => Ok(Some("seccomp=unconfined".to_owned())),
        ("" | "custom", false) => profile(&wanted.profile).map(Some),
        ("custom", true) => Err(invalid("Seccomp.Profile: mode \"custom\" needs one")),
        ("default" | "unconfined", false) => {
            Err(invalid(&format!("Seccomp.Profile: mode {:?} takes none", wanted.mode)))
        }
        _ => Err(invalid(&format!("Seccomp.Mode: {:?}", wanted.mode))),
    }
}

fn profile(encoded: &str) -> Result<String, ApiError> {
    let bytes = STANDARD.decode(encoded).map_err(|_| invalid("Seccomp.Profile: not base64"))?;
    let is_object = |text: &String| {
        serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object())
    };
    let text = String::from_utf8(bytes).ok().filter(is_object);
    let text = text.ok_or_else(|| invalid("Seccomp.Profile: not a JSON object"))?;
    Ok(format!("seccomp={text}"))
}

fn invalid(what: &str) -> ApiError {
    ApiError::bad_request(format!("invalid Privileges.{what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn options(privileges: Value) -> Result<Vec<String>, String> {
        let body: Privileges = serde_json::from_value(privileges).unwrap();
        security_options(body).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn settings_become_the_engines_words() {
        for (privileges, wanted) in [
            (json!({}), vec![]),
            // What `stack deploy` sends.
            (
                json!({"CredentialSpec": null, "SELinuxContext": null, "NoNewPrivileges": false}),
                vec![],
            ),
            (json!({"CredentialSpec": {"File": "x"}}), vec![]),
            (json!({"NoNewPrivileges": true}), vec!["no-new-privileges=true"]),
            (json!({"SELinuxContext": {"Disable": true}}), vec!["label=disable"]),
            (
                json!({"SELinuxContext": {"User": "u", "Type": "t"}}),
                vec!["label=user:u", "label=type:t"],
            ),
            (json!({"Seccomp": {"Mode": "default"}, "AppArmor": {"Mode": "default"}}), vec![]),
            (
                json!({"Seccomp": {"Mode": "unconfined"}, "AppArmor": {"Mode": "disabled"}}),
                vec!["seccomp=unconfined", "apparmor=unconfined"],
            ),
            (json!({"Seccomp": {"Mode": "custom", "Profile": "e30="}}), vec!["seccomp={}"]),
        ] {
            let wanted: Vec<_> = wanted.into_iter().map(str::to_owned).collect();
            assert_eq!(options(privileges.clone()), Ok(wanted), "{privileges}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (privileges, field) in [
            (json!({"Seccomp": {"Mode": "x"}}), "Seccomp.Mode"),
            (json!({"Seccomp": {"Mode": "custom"}}), "Seccomp.Profile"),
            (json!({"Seccomp": {"Mode": "unconfined", "Profile": "e30="}}), "Seccomp.Profile"),
            (json!({"Seccomp": {"Profile": "!!"}}), "Seccomp.Profile"),
            (json!({"Seccomp": {"Profile": "W10="}}), "Seccomp.Profile"),
            (json!({"AppArmor": {"Mode": "x"}}), "AppArmor.Mode"),
            (json!({"SELinuxContext": {"Disable": true, "User": "u"}}), "SELinuxContext"),
        ] {
            let message = options(privileges).unwrap_err();
            assert!(message.starts_with(&format!("invalid Privileges.{field}")), "{message}");
        }
    }
}
