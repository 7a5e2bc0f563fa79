//! Pure: which texts are image references: `[host[:port]/]path[:tag][@digest]`.

/// Longest name of a repository, with its host.
const NAME_LENGTH_MAX: usize = 255;
const TAG_LENGTH_MAX: usize = 128;
/// A name of 64 hexadecimal digits would be taken for an image id.
const ID_DIGITS: usize = 64;
const DIGEST_DIGITS_MIN: usize = 32;

/// True if Docker's engine would accept the text as a reference to an image.
pub(super) fn is_reference(text: &str) -> bool {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let after_path = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[after_path..].find(':') {
        Some(colon) => (&rest[..after_path + colon], Some(&rest[after_path + colon + 1..])),
        None => (rest, None),
    };
    digest.is_none_or(is_digest) && tag.is_none_or(is_tag) && is_name(name)
}

fn is_name(name: &str) -> bool {
    let is_id = name.len() == ID_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || is_id {
        return false;
    }
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if is_host_like(first) => (Some(first), path),
        _ => (None, name),
    };
    host.is_none_or(is_host) && path.split('/').all(is_component)
}

/// Only these make the first part a host, not a folder on Docker Hub.
fn is_host_like(part: &str) -> bool {
    part == "localhost"
        || part.contains(['.', ':'])
        || part.contains(|c: char| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let edges = text.starts_with(word) && text.ends_with(word);
    let mut joints = text.split(word).filter(|joint| !joint.is_empty());
    edges
        && joints.all(|joint| matches!(joint, "." | "_" | "__") || joint.chars().all(|c| c == '-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= TAG_LENGTH_MAX
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || "-_+.".contains(c))
            && hex.len() >= DIGEST_DIGITS_MIN
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_every_form_are_accepted() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        let both = format!("r.example:5000/a/b:1.2@sha256:{}", "0".repeat(64));
        for good in [
            "nginx",
            "nginx:latest",
            "library/nginx:1.25-alpine",
            "10.20.20.50:5000/whoami",
            "localhost/x",
            "localhost:5000/a/b__c:T.a-g_1",
            "registry.example.com/team/app---x",
            "trajano/nfs-volume-plugin",
            digest.as_str(),
            both.as_str(),
        ] {
            assert!(is_reference(good), "{good}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "a".repeat(256);
        let id = "0".repeat(64);
        let tag = format!("nginx:{}", "t".repeat(129));
        for bad in [
            "",
            "!!",
            "Nginx",
            "nginx:",
            "nginx:a b",
            ":latest",
            "/nginx",
            "nginx/",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "nginx@sha256:12",
            "nginx@",
            "host.example:port/x",
            "-h.example/x",
            "ngınx",
            &long,
            &id,
            &tag,
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
