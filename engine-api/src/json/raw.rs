//! Pure: JSON with its keys in the order written, duplicates included.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::error::ApiError;

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// Null, truth, number or text.
    Plain(Value),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl From<Raw> for Value {
    fn from(raw: Raw) -> Self {
        match raw {
            Raw::Plain(value) => value,
            Raw::List(list) => Self::Array(list.into_iter().map(Self::from).collect()),
            Raw::Object(members) => {
                Self::Object(members.into_iter().map(|(k, v)| (k, Self::from(v))).collect())
            }
        }
    }
}

/// Reads exactly one value. The parser bounds the nesting at 128.
pub(super) fn parse(text: &[u8]) -> Result<Raw, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let raw = Raw::deserialize(&mut reader).map_err(|error| {
        ApiError::bad_request(if error.is_eof() {
            "invalid JSON: got EOF while reading request body".to_owned()
        } else {
            format!("invalid JSON: {error}")
        })
    })?;
    match reader.end() {
        Ok(()) => Ok(raw),
        Err(_) => Err(ApiError::bad_request("unexpected content after JSON")),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Plain(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut members = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            members.push(entry);
        }
        Ok(Raw::Object(members))
    }
}
