//! Pure: which keys an object has, and how a value as written is brought into that shape.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::raw::Raw;
use crate::error::ApiError;

/// Unknown keys that are named to the user: who sends more has sent something else altogether.
const UNKNOWN_NAMED_MAX: usize = 64;
/// Characters of one key in a path. A key may be as long as the body, and everything below it has its
/// name in the path.
const KEY_SHOWN_MAX: usize = 128;

/// What is expected at a place of a document.
pub(crate) enum Kind {
    /// Text, number, truth.
    Plain,
    /// Anything, kept unread.
    Any,
    List(&'static Self),
    /// An object whose keys are the user's own.
    Map(&'static Self),
    Object(&'static [Field]),
}

/// One key of an object.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// A type that is read from JSON.
pub(crate) trait Shape {
    const KIND: Kind;
}

macro_rules! plain {
    ($($type:ty),+) => {$(
        impl Shape for $type {
            const KIND: Kind = Kind::Plain;
        }
    )+};
}

plain!(String, bool, i64, u64, u32, u16, u8, f32);

impl Shape for Value {
    const KIND: Kind = Kind::Any;
}

impl<T: Shape> Shape for Option<T> {
    const KIND: Kind = T::KIND;
}

impl<T: Shape> Shape for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    const KIND: Kind = Kind::Map(&T::KIND);
}

/// Defines a struct that is read from JSON together with its [`Shape`]: key => field: type.
macro_rules! wire {
    ($(#[$meta:meta])* $name:ident { $($key:literal => $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        pub(crate) struct $name {
            $(#[serde(rename = $key)] pub(crate) $field: $type,)*
        }

        impl $crate::json::Shape for $name {
            const KIND: $crate::json::Kind = $crate::json::Kind::Object(&[
                $($crate::json::Field {
                    name: $key,
                    kind: <$type as $crate::json::Shape>::KIND,
                },)*
            ]);
        }
    };
}
pub(crate) use wire;

/// Returns the value with known keys in their own spelling; `unknown` gathers the paths of others.
///
/// # Errors
/// 400 for a list where an object belongs: serde would read it as a struct's fields in order. Every
/// other mismatch is left to the typed reading, which names what was expected.
pub(super) fn normalise(
    raw: Raw,
    kind: &Kind,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<Value, ApiError> {
    match (raw, kind) {
        (Raw::Object(members), Kind::Object(fields)) => object(members, fields, path, unknown),
        (Raw::Object(members), Kind::Map(inner)) => {
            let mut map = Map::new();
            for (key, value) in members {
                let path = join(path, &key);
                insert(&mut map, key, value, |v| normalise(v, inner, &path, unknown))?;
            }
            Ok(Value::Object(map))
        }
        (Raw::List(_), Kind::Object(_) | Kind::Map(_)) => Err(not_an_object(path)),
        (Raw::List(list), Kind::List(inner)) => list
            .into_iter()
            .enumerate()
            .map(|(at, value)| normalise(value, inner, &format!("{path}[{at}]"), unknown))
            .collect(),
        (other, _) => Ok(Value::from(other)),
    }
}

fn object(
    members: Vec<(String, Raw)>,
    fields: &[Field],
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let mut map = Map::new();
    for (key, value) in members {
        match fields.iter().find(|field| field.name.eq_ignore_ascii_case(&key)) {
            Some(field) => {
                let path = join(path, field.name);
                insert(&mut map, field.name.to_owned(), value, |v| {
                    normalise(v, &field.kind, &path, unknown)
                })?;
            }
            None => {
                if unknown.len() < UNKNOWN_NAMED_MAX {
                    let path = join(path, &key);
                    if !unknown.contains(&path) {
                        unknown.push(path);
                    }
                }
                map.insert(key, Value::from(value));
            }
        }
    }
    Ok(Value::Object(map))
}

fn not_an_object(path: &str) -> ApiError {
    let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
    ApiError::bad_request(format!(
        "invalid JSON: {place}invalid type: sequence, expected an object"
    ))
}

/// The last one counts, and a null takes the key away.
fn insert(
    map: &mut Map<String, Value>,
    key: String,
    raw: Raw,
    read: impl FnOnce(Raw) -> Result<Value, ApiError>,
) -> Result<(), ApiError> {
    if raw == Raw::Plain(Value::Null) {
        map.shift_remove(&key);
    } else {
        map.insert(key, read(raw)?);
    }
    Ok(())
}

fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(KEY_SHOWN_MAX).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
