//! Pure: mounts.

use std::collections::BTreeMap;

use serde_json::Value;
use swarmnet_model::container::{LogDriver, Mount, MountKind};

use crate::error::ApiError;
use crate::json::wire;

wire! {
    MountBody {
        "Type" => kind: String,
        "Source" => source: String,
        "Target" => target: String,
        "ReadOnly" => read_only: bool,
        "Consistency" => consistency: String,
        "BindOptions" => bind: Option<BindOptions>,
        "VolumeOptions" => volume: Option<VolumeOptions>,
        "TmpfsOptions" => tmpfs: Option<TmpfsOptions>,
        "ImageOptions" => image: Option<ImageOptions>,
        "ClusterOptions" => cluster: Option<Value>,
    }
}

wire! {
    BindOptions {
        "Propagation" => propagation: String,
        "NonRecursive" => non_recursive: bool,
        "CreateMountpoint" => create_mountpoint: bool,
        "ReadOnlyNonRecursive" => read_only_non_recursive: bool,
        "ReadOnlyForceRecursive" => read_only_force_recursive: bool,
    }
}

wire! {
    VolumeOptions {
        "NoCopy" => no_copy: bool,
        "Labels" => labels: BTreeMap<String, String>,
        "Subpath" => subpath: String,
        "DriverConfig" => driver: Option<DriverBody>,
    }
}

wire! {
    TmpfsOptions {
        "SizeBytes" => size_bytes: i64,
        "Mode" => mode: u32,
        "Options" => options: Vec<Vec<String>>,
    }
}

wire! { ImageOptions { "Subpath" => subpath: String, } }

wire! {
    /// A driver with options: of volumes and of logs.
    DriverBody { "Name" => name: String, "Options" => options: BTreeMap<String, String>, }
}

/// Reads a driver.
pub(crate) fn driver(body: DriverBody) -> LogDriver {
    LogDriver { name: body.name, options: body.options }
}

/// Reads a mount.
///
/// # Errors
/// 400 for unknown types and for options of another type, 501 for types this version cannot do.
pub(crate) fn mount(body: MountBody) -> Result<Mount, ApiError> {
    let kind = body.kind.to_ascii_lowercase();
    check_options(&kind, &body)?;
    let kind = match kind.as_str() {
        // Absent means bind in Docker's API; the CLI always names it.
        "bind" | "" => bind(body.bind.unwrap_or_default())?,
        "volume" => volume(body.volume.unwrap_or_default()),
        "tmpfs" => tmpfs(body.tmpfs.unwrap_or_default()),
        "cluster" => return Err(ApiError::unsupported("cluster volumes are")),
        "image" => MountKind::Image { subpath: body.image.and_then(|image| some(image.subpath)) },
        "npipe" => MountKind::Npipe,
        _ => {
            return Err(ApiError::bad_request(format!("invalid MountType: {:?}", body.kind)));
        }
    };
    Ok(Mount {
        kind,
        source: body.source,
        target: body.target,
        read_only: body.read_only,
        consistency: some(body.consistency),
    })
}

fn check_options(kind: &str, body: &MountBody) -> Result<(), ApiError> {
    let kind = if kind.is_empty() { "bind" } else { kind };
    let present = [
        ("bind", "BindOptions", body.bind.is_some()),
        ("volume", "VolumeOptions", body.volume.is_some()),
        ("tmpfs", "TmpfsOptions", body.tmpfs.is_some()),
        ("image", "ImageOptions", body.image.is_some()),
        ("cluster", "ClusterOptions", body.cluster.is_some()),
    ];
    match present.iter().find(|(of, _, present)| *present && *of != kind) {
        None => Ok(()),
        Some((_, field, _)) => Err(ApiError::bad_request(format!(
            "invalid mount config for type {kind:?}: field {field} must not be specified"
        ))),
    }
}

const PROPAGATIONS: [&str; 7] = ["", "private", "rprivate", "shared", "rshared", "slave", "rslave"];

fn bind(options: BindOptions) -> Result<MountKind, ApiError> {
    let word = options.propagation.to_ascii_lowercase();
    if !PROPAGATIONS.contains(&word.as_str()) {
        let text = format!("invalid MountPropagation: {:?}", options.propagation);
        return Err(ApiError::bad_request(text));
    }
    Ok(MountKind::Bind {
        propagation: some(word),
        non_recursive: options.non_recursive,
        create_mountpoint: options.create_mountpoint,
        read_only_non_recursive: options.read_only_non_recursive,
        read_only_force_recursive: options.read_only_force_recursive,
    })
}

fn volume(options: VolumeOptions) -> MountKind {
    MountKind::Volume {
        no_copy: options.no_copy,
        labels: options.labels,
        driver: options.driver.map(driver),
        subpath: some(options.subpath),
    }
}

fn tmpfs(options: TmpfsOptions) -> MountKind {
    MountKind::Tmpfs {
        size_bytes: Some(options.size_bytes).filter(|size| *size != 0),
        mode: Some(options.mode).filter(|mode| *mode != 0),
        options: options.options,
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_another_type_are_refused() {
        let body = MountBody {
            kind: "volume".to_owned(),
            bind: Some(BindOptions::default()),
            ..MountBody::default()
        };
        assert_eq!(
            mount(body).unwrap_err().message(),
            "invalid mount config for type \"volume\": field BindOptions must not be specified"
        );
        let text = |kind: &str| {
            let body = MountBody { kind: kind.to_owned(), ..MountBody::default() };
            mount(body).unwrap_err().message().to_owned()
        };
        assert_eq!(text("zz"), "invalid MountType: \"zz\"");
        assert_eq!(
            mount(MountBody { kind: "NPIPE".to_owned(), ..MountBody::default() }).unwrap().kind,
            MountKind::Npipe
        );
        let bind = BindOptions { propagation: "zz".to_owned(), ..BindOptions::default() };
        let body = MountBody { bind: Some(bind), ..MountBody::default() };
        assert_eq!(mount(body).unwrap_err().message(), "invalid MountPropagation: \"zz\"");
        assert!(text("cluster").contains("not supported"));
    }
}
