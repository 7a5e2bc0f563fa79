//! Reading JSON as Docker's server does: keys without regard to case, the last of two wins, null is
//! absent; and, beyond it, unknown keys are kept and named.

mod raw;
mod shape;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use shape::{Field, Kind, Shape, wire};

use crate::error::ApiError;

/// A request's value in the API's own keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) value: Value,
    /// Paths of keys this version does not know, the first of many.
    pub(crate) unknown: Vec<String>,
}

/// Reads a body whose shape is `T`; an empty one equals `{}`.
///
/// # Errors
/// 400 for text that is not one JSON value.
pub(crate) fn read<T: Shape>(body: &[u8]) -> Result<Document, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Document { value: Value::Object(serde_json::Map::new()), unknown: Vec::new() });
    }
    let raw = raw::parse(body)?;
    let mut unknown = Vec::new();
    let value = if raw == raw::Raw::Plain(Value::Null) {
        Value::Object(serde_json::Map::new())
    } else {
        shape::normalise(raw, &T::KIND, "", &mut unknown)?
    };
    Ok(Document { value, unknown })
}

/// Reads the typed form of a normalised value.
///
/// # Errors
/// 400 naming the field and what was expected there.
pub(crate) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        ApiError::bad_request(match path.as_str() {
            "." | "" => format!("invalid JSON: {reason}"),
            path => format!("invalid JSON: {path}: {reason}"),
        })
    })
}

/// Returns the member of an object, made as an empty object if it is absent.
///
/// Only for values that were read as a typed struct first: there the member can be nothing else.
pub(crate) fn member<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let map = value.as_object_mut().expect("made an object just above");
    map.entry(name).or_insert_with(|| Value::Object(serde_json::Map::new()))
}

/// Sets a member of an object unless it is there.
pub(crate) fn set_default(value: &mut Value, name: &str, default: impl Into<Value>) {
    if let Some(map) = value.as_object_mut() {
        map.entry(name).or_insert_with(|| default.into());
    }
}

/// Removes what a dotted path names (`a.b.c`), if it is there; `[]` means every element of a list.
pub(crate) fn strip(value: &mut Value, path: &str) {
    match path.split_once('.') {
        None => {
            value.as_object_mut().map(|map| map.shift_remove(path));
        }
        Some((head, rest)) => match head.strip_suffix("[]") {
            Some(list) => {
                let elements = value.get_mut(list).and_then(Value::as_array_mut);
                elements.into_iter().flatten().for_each(|element| strip(element, rest));
            }
            None => {
                if let Some(inner) = value.get_mut(head) {
                    strip(inner, rest);
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    wire! {
        Inner { "Count" => count: u64, "Labels" => labels: BTreeMap<String, String>, }
    }
    wire! {
        Outer {
            "Name" => name: String,
            "Inner" => inner: Inner,
            "List" => list: Vec<Inner>,
            "Free" => free: Option<Value>,
        }
    }

    fn shaped(text: &str) -> (Value, Vec<String>) {
        let document = read::<Outer>(text.as_bytes()).unwrap();
        (document.value, document.unknown)
    }

    #[test]
    fn keys_match_without_case_and_the_last_wins() {
        let (value, unknown) = shaped(r#"{"name":"a","NAME":"b","INNER":{"cOunt":3},"Name":"c"}"#);
        assert_eq!(value, json!({"Name": "c", "Inner": {"Count": 3}}));
        assert!(unknown.is_empty());
        assert_eq!(shaped(r#"{"Name":"a","name":null}"#).0, json!({}));
    }

    #[test]
    fn the_users_own_keys_keep_their_case() {
        let (value, _) = shaped(r#"{"inner":{"labels":{"count":"1","Count":"2","n":null}}}"#);
        assert_eq!(value, json!({"Inner": {"Labels": {"count": "1", "Count": "2"}}}));
        assert_eq!(shaped(r#"{"free":{"name":1}}"#).0, json!({"Free": {"name": 1}}));
    }

    #[test]
    fn unknown_keys_stay_in_place_and_are_named() {
        let (value, unknown) = shaped(r#"{"list":[{"count":1},{"x":{"name":null}}],"y":1}"#);
        assert_eq!(value, json!({"List": [{"Count": 1}, {"x": {"name": null}}], "y": 1}));
        assert_eq!(unknown, ["List[1].x", "y"]);
    }

    #[test]
    fn what_is_said_of_unknown_keys_does_not_grow_with_the_body() {
        let many: Vec<String> = (0..1_000).map(|n| format!("\"k{n}\":1")).collect();
        let (value, unknown) = shaped(&format!("{{{}}}", many.join(",")));
        assert_eq!((value.as_object().unwrap().len(), unknown.len()), (1_000, 64));
        let long = "x".repeat(100_000);
        let (value, unknown) = shaped(&format!("{{\"{long}\":1}}"));
        assert!(value.get(&long).is_some() && unknown[0].len() == 128);
    }

    #[test]
    fn null_is_absent_and_an_empty_body_an_empty_object() {
        assert_eq!(shaped(r#"{"Name":null,"Inner":null,"List":null}"#).0, json!({}));
        assert_eq!(shaped("").0, json!({}));
        assert_eq!(shaped("null").0, json!({}));
    }

    fn refused(text: &[u8]) -> String {
        match read::<Outer>(text).and_then(|document| typed::<Outer>(&document.value)) {
            Ok(outer) => panic!("accepted as {outer:?}"),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn broken_text_says_where_and_why() {
        for (text, wanted) in [
            (r#"{"Name":"a"#, "invalid JSON: got EOF while reading request body"),
            (r#"{"Name":"a"} {}"#, "unexpected content after JSON"),
            (r#"{"Name":5}"#, "invalid JSON: Name: invalid type: integer `5`, expected a string"),
            (
                r#"{"list":[{},{"count":"1"}]}"#,
                "invalid JSON: List[1].Count: invalid type: string \"1\", expected u64",
            ),
            (
                r#"{"inner":{"count":-1}}"#,
                "invalid JSON: Inner.Count: invalid value: integer `-1`, expected u64",
            ),
            (
                r#"{"inner":{"count":1.5}}"#,
                "invalid JSON: Inner.Count: invalid type: floating point `1.5`, expected u64",
            ),
        ] {
            assert_eq!(refused(text.as_bytes()), wanted);
        }
        for text in [&b"{\"Name\":1e400}"[..], b"{\"Name\":\"\xff\"}", b"{\"Name\":\"\0\"}", b"{,}"]
        {
            assert!(refused(text).starts_with("invalid JSON: "), "{text:?}");
        }
        let list = "invalid type: sequence, expected an object";
        assert_eq!(refused(b"[]"), format!("invalid JSON: {list}"));
        assert_eq!(refused(b"{\"inner\":[]}"), format!("invalid JSON: Inner: {list}"));
        assert!(refused(b"5").starts_with("invalid JSON: invalid type: integer"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let unknown = |depth: usize| format!("{{\"x\":{}}}", nested(depth - 1));
        assert!(read::<Outer>(unknown(127).as_bytes()).is_ok());
        for depth in [129, 10_000, 1_000_000] {
            assert!(read::<Outer>(unknown(depth).as_bytes()).is_err(), "{depth}");
        }
    }

    #[test]
    fn a_path_can_be_stripped_from_a_value() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "l": [{"x": 1}, {"x": 2, "y": 3}]});
        strip(&mut value, "a.b");
        strip(&mut value, "l[].x");
        strip(&mut value, "no.such.path");
        assert_eq!(value, json!({"a": {"c": 2}, "l": [{}, {"y": 3}]}));
    }
}
