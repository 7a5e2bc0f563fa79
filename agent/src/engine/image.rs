//! Pure: image references as the engine's pull call wants them, and when a pull is needed.

/// Name and tag of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullReference {
    /// With the digest, if the reference has one.
    pub name: String,
    /// Empty with a digest; never empty without: an empty tag would fetch every tag.
    pub tag: String,
}

/// Splits an image reference for `POST /images/create`.
pub fn pull_reference(image: &str) -> PullReference {
    if is_pinned(image) {
        return PullReference { name: image.to_owned(), tag: String::new() };
    }
    // A colon before the last slash belongs to a registry's port.
    let name_start = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name_start..].rfind(':') {
        Some(colon) => PullReference {
            name: image[..name_start + colon].to_owned(),
            tag: image[name_start + colon + 1..].to_owned(),
        },
        None => PullReference { name: image.to_owned(), tag: "latest".to_owned() },
    }
}

/// True if the reference names its content by digest: an image that is present is the right one.
pub fn is_pinned(image: &str) -> bool {
    image.contains('@')
}

/// Returns what is asked to get the image: the registry, or Docker Hub.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_the_tag_and_nowhere_else() {
        let digest = format!("nginx:1@sha256:{}", "a".repeat(64));
        let cases = [
            ("nginx", "nginx", "latest", "docker.io"),
            ("library/nginx:1.27", "library/nginx", "1.27", "docker.io"),
            ("10.20.20.1:5000/web", "10.20.20.1:5000/web", "latest", "10.20.20.1:5000"),
            ("reg.example:5000/a/web:x", "reg.example:5000/a/web", "x", "reg.example:5000"),
            ("localhost/web:x", "localhost/web", "x", "localhost"),
            (&digest, &digest, "", "docker.io"),
        ];
        for (image, name, tag, from) in cases {
            let expected = PullReference { name: name.to_owned(), tag: tag.to_owned() };
            assert_eq!((pull_reference(image), registry(image)), (expected, from), "{image}");
        }
    }
}
