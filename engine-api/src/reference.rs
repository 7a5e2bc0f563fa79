//! Pure: what a reference means: full id, exact name, unique id prefix.

use swarmnet_model::{CallError, Code};

/// What is known of an object under lookup.
pub(crate) struct Named<'a, T> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) object: T,
}

/// Returns the object a reference means. `alike` is a second, looser comparison of names.
///
/// # Errors
/// `<kind> X not found`, `<kind> X is ambiguous (N matches found)`.
pub(crate) fn resolve<T>(
    kind: &str,
    reference: &str,
    objects: Vec<Named<'_, T>>,
    alike: impl Fn(&str, &str) -> bool,
) -> Result<T, CallError> {
    if reference.is_empty() {
        return Err(CallError::not_found(kind, reference));
    }
    let fits = |step: Step, named: &Named<'_, T>| match step {
        Step::Id => named.id == reference,
        Step::Name => named.name == reference,
        Step::Alike => alike(named.name, reference),
        Step::Prefix => named.id.starts_with(reference),
    };
    let count = |step| objects.iter().filter(|named| fits(step, named)).count();
    let matches = Step::ORDER.map(|step| (count(step), step)).into_iter().find(|(n, _)| *n > 0);
    match matches {
        None => Err(CallError::not_found(kind, reference)),
        Some((1, step)) => {
            let found = objects.iter().position(|named| fits(step, named));
            let found = found.and_then(|at| objects.into_iter().nth(at));
            Ok(found.expect("one object fits, as just counted").object)
        }
        Some((count, _)) => Err(ambiguous(kind, reference, count)),
    }
}

/// How a reference is compared, one after the other until something matches.
#[derive(Clone, Copy)]
enum Step {
    Id,
    Name,
    Alike,
    Prefix,
}

impl Step {
    const ORDER: [Self; 4] = [Self::Id, Self::Name, Self::Alike, Self::Prefix];
}

/// For objects whose names have one spelling.
pub(crate) fn same_only(_: &str, _: &str) -> bool {
    false
}

/// True if one is the short name and the other the full name of one host.
pub(crate) fn same_host(left: &str, right: &str) -> bool {
    let within = |short: &str, long: &str| {
        !short.is_empty()
            && !short.contains('.')
            && long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
    };
    within(left, right) || within(right, left)
}

fn ambiguous(kind: &str, reference: &str, count: usize) -> CallError {
    let message = format!("{kind} {reference} is ambiguous ({count} matches found)");
    CallError::api(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(reference: &str, objects: &[(&'static str, &'static str)]) -> Result<String, String> {
        let named =
            objects.iter().map(|(id, name)| Named { id, name, object: (*id).to_owned() }).collect();
        resolve("node", reference, named, same_host).map_err(|error| error.to_string())
    }

    #[test]
    fn ids_come_before_names_and_names_before_prefixes() {
        let nodes = [("abc1", "web"), ("abd2", "abc1"), ("web9", "x")];
        assert_eq!(look("abc1", &nodes).unwrap(), "abc1");
        assert_eq!(look("web", &nodes).unwrap(), "abc1");
        assert_eq!(look("abd", &nodes).unwrap(), "abd2");
        assert_eq!(look("ab", &nodes).unwrap_err(), "node ab is ambiguous (2 matches found)");
        assert_eq!(look("zz", &nodes).unwrap_err(), "node zz not found");
        assert_eq!(look("", &nodes).unwrap_err(), "node  not found");
    }

    #[test]
    fn two_hosts_of_one_name_are_ambiguous() {
        let nodes = [("a1", "node02"), ("b2", "node02")];
        assert_eq!(
            look("node02", &nodes).unwrap_err(),
            "node node02 is ambiguous (2 matches found)"
        );
    }

    #[test]
    fn a_host_answers_to_its_short_and_its_full_name() {
        let nodes = [("a1", "node01"), ("b2", "node02.docker-dca.example")];
        assert_eq!(look("node01.docker-dca.example", &nodes).unwrap(), "a1");
        assert_eq!(look("node02", &nodes).unwrap(), "b2");
        assert!(look("node0", &nodes).is_err());
        assert!(!same_host("node01.a", "node01.b"));
    }
}
