//! Pure: `?filters=`, in both forms Docker's clients write.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::ApiError;

/// Wanted values by key. Values of one key are OR-ed, keys AND-ed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `{"key":{"value":true}}` (the truth value means nothing) or `{"key":["value"]}`.
    ///
    /// # Errors
    /// `invalid filter` for another shape.
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let invalid = || ApiError::bad_request("invalid filter");
        let parsed: Value = serde_json::from_str(text).map_err(|_| invalid())?;
        let Value::Object(keys) = parsed else { return Err(invalid()) };
        let mut filters = BTreeMap::new();
        for (key, wanted) in keys {
            filters.insert(key, values(wanted).ok_or_else(invalid)?);
        }
        Ok(Self(filters))
    }

    /// As [`Self::read`], and refuses keys that the list does not know.
    ///
    /// # Errors
    /// `Invalid filter 'zz'`.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Self, ApiError> {
        let filters = Self::read(text)?;
        match filters.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ApiError::bad_request(format!("Invalid filter '{key}'"))),
            None => Ok(filters),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the wanted values, empty if the key is absent.
    pub(crate) fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// True if the key is absent or one of its values satisfies `fits`.
    pub(crate) fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).iter().any(|value| fits(value))
    }

    /// True if the text begins with one of the wanted values.
    pub(crate) fn prefix(&self, key: &str, text: &str) -> bool {
        self.any(key, |value| text.starts_with(value))
    }

    /// True if all wanted `k` or `k=v` are among the labels.
    pub(crate) fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Replaces each value of a key.
    pub(crate) fn map(&mut self, key: &str, change: impl Fn(&str) -> String) {
        for value in self.0.get_mut(key).into_iter().flatten() {
            *value = change(value);
        }
    }

    /// Adds a value to a key.
    pub(crate) fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().push(value.to_owned());
    }

    /// Forgets a key.
    pub(crate) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Returns the filter of one key alone.
    pub(crate) fn only(&self, key: &str) -> Self {
        Self(self.0.get_key_value(key).map(|(k, v)| (k.clone(), v.clone())).into_iter().collect())
    }

    /// Writes the newer form, as the engine reads it.
    pub(crate) fn to_json(&self) -> String {
        let truths = |values: &Vec<String>| -> BTreeMap<String, bool> {
            values.iter().map(|value| (value.clone(), true)).collect()
        };
        let all: BTreeMap<&String, _> = self.0.iter().map(|(k, v)| (k, truths(v))).collect();
        serde_json::to_string(&all).expect("maps of text and truth values are JSON")
    }
}

fn values(wanted: Value) -> Option<Vec<String>> {
    match wanted {
        Value::Object(map) => {
            map.into_iter().map(|(value, truth)| truth.is_boolean().then_some(value)).collect()
        }
        Value::Array(list) => {
            list.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let new = Filters::parse(r#"{"service":{"a":true,"b":false}}"#, &["service"]).unwrap();
        let old = Filters::parse(r#"{"service":["a","b"]}"#, &["service"]).unwrap();
        assert_eq!(new, old);
        assert_eq!(new.to_json(), r#"{"service":{"a":true,"b":true}}"#);
    }

    #[test]
    fn unknown_keys_and_other_shapes_are_refused() {
        let text = |raw| Filters::parse(raw, &["id"]).unwrap_err().message().to_owned();
        assert_eq!(text(r#"{"zz":["a"]}"#), "Invalid filter 'zz'");
        for bad in ["zz", "[]", r#"{"id":"a"}"#, r#"{"id":{"a":1}}"#, r#"{"id":[1]}"#, "{"] {
            assert_eq!(text(bad), "invalid filter", "{bad}");
        }
    }

    #[test]
    fn labels_are_anded_and_other_values_ored() {
        let labels = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())].into();
        let fits = |raw| Filters::read(raw).unwrap().labels("label", &labels);
        assert!(fits(r#"{"label":["a=1","b"]}"#));
        assert!(!fits(r#"{"label":["a=1","c"]}"#));
        assert!(!fits(r#"{"label":["a=2"]}"#));
        let ids = Filters::read(r#"{"id":["x","ab"]}"#).unwrap();
        assert!(ids.prefix("id", "abc") && !ids.prefix("id", "cab") && ids.prefix("name", "any"));
    }
}
