//! Pure: which events a request wants: filters, `since`, `until`.

use std::collections::BTreeMap;

use swarmnet_model::Timestamp;

use crate::error::ApiError;
use crate::filters::Filters;
use crate::query::Query;

const KEYS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];
/// Keys that name an object of a type.
const OBJECTS: [&str; 10] = [
    "config",
    "container",
    "daemon",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
];

/// What a request for events wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filters: Filters,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

/// What an event is filtered by.
pub(crate) struct Seen<'a> {
    pub(crate) scope: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) action: &'a str,
    pub(crate) id: &'a str,
    pub(crate) attributes: &'a BTreeMap<String, String>,
}

impl Wanted {
    /// Reads the query.
    ///
    /// # Errors
    /// 400 with Docker's texts.
    pub(crate) fn read(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            filters: Filters::parse(query.get("filters"), &KEYS)?,
            since: query.time("since")?,
            until: query.time("until")?,
        })
    }

    /// True if all filters let it pass.
    pub(crate) fn takes(&self, seen: &Seen<'_>) -> bool {
        let filters = &self.filters;
        let name = seen.attributes.get("name").map_or("", String::as_str);
        let named = |key: &str| {
            filters.any(key, |wanted| {
                key == seen.kind && (seen.id.starts_with(wanted) || name.starts_with(wanted))
            })
        };
        filters.any("scope", |wanted| wanted == seen.scope)
            && filters.any("type", |wanted| wanted == seen.kind)
            && filters.any("event", |wanted| wanted == seen.action)
            && filters.labels("label", seen.attributes)
            && OBJECTS.iter().all(|key| named(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(filters: &str, kind: &str, action: &str) -> bool {
        let query = Query::parse(&format!("filters={filters}"));
        let attributes = [("name".to_owned(), "web".to_owned())].into();
        let seen = Seen { scope: "swarm", kind, action, id: "s1abc", attributes: &attributes };
        Wanted::read(&query).unwrap().takes(&seen)
    }

    #[test]
    fn filters_are_those_of_docker() {
        for (filters, expected) in [
            (r#"{}"#, true),
            (r#"{"scope":["swarm"]}"#, true),
            (r#"{"scope":["local"]}"#, false),
            (r#"{"type":["service","node"]}"#, true),
            (r#"{"type":["node"]}"#, false),
            (r#"{"event":["update"]}"#, true),
            (r#"{"event":["remove"]}"#, false),
            (r#"{"service":["web"]}"#, true),
            (r#"{"service":["s1a"]}"#, true),
            (r#"{"service":["other"]}"#, false),
            (r#"{"node":["web"]}"#, false),
            (r#"{"label":["name=web"]}"#, true),
            (r#"{"label":["tier"]}"#, false),
        ] {
            assert_eq!(takes(filters, "service", "update"), expected, "{filters}");
        }
    }

    #[test]
    fn wrong_queries_get_dockers_texts() {
        let text =
            |query: &str| Wanted::read(&Query::parse(query)).unwrap_err().message().to_owned();
        assert_eq!(text(r#"filters={"zz":["a"]}"#), "Invalid filter 'zz'");
        assert_eq!(
            text("since=x"),
            "invalid value for \"since\": strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        let wanted = Wanted::read(&Query::parse("since=1.5&until=2")).unwrap();
        assert_eq!(wanted.since, Some(Timestamp(1_500_000_000)));
        assert_eq!(wanted.until, Some(Timestamp(2_000_000_000)));
    }
}
