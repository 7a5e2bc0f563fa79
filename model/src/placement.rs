//! Pure: where tasks may run, as the user wrote it.

use serde::{Deserialize, Serialize};

use crate::constraint::architecture;
use crate::node::Node;

/// Constraints and limits; constraint expressions were checked when the spec was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// `key==value` or `key!=value`, all must hold.
    pub constraints: Vec<String>,
    /// Labels to spread over (`node.labels.dc`), outermost first.
    pub spread: Vec<String>,
    /// 0 = no limit.
    pub max_replicas: u64,
    pub platforms: Vec<Platform>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

/// True if the node is one of the platforms; an empty list or field means any.
pub fn runs_on(node: &Node, platforms: &[Platform]) -> bool {
    let Some(description) = &node.description else { return platforms.is_empty() };
    let same = |wanted: &str, found: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(found);
    platforms.is_empty()
        || platforms.iter().any(|platform| {
            let wanted = architecture(&platform.architecture);
            same(wanted, architecture(&description.architecture))
                && same(&platform.os, &description.os)
        })
}
