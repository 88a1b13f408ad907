//! What a search looks at in a record: a few fields, borrowed from its bytes. The rest is skipped.
//!
//! A hundred thousand records are looked at in a search. Decoded whole, each would be a hundred allocations for nothing.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The fields of a record that every search may ask for.
#[derive(Debug, Deserialize)]
pub(super) struct Peek<'a> {
    pub(super) id: &'a str,
    pub(super) definition: &'a str,
    pub(super) state: &'a str,
    pub(super) status: &'a str,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
    #[serde(default)]
    pub(super) conversation_id: Option<&'a str>,
    #[serde(default, borrow)]
    pub(super) error: Option<PeekedError<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PeekedError<'a> {
    pub(super) code: &'a str,
}

impl<'a> Peek<'a> {
    /// `None` for what is no record of ours.
    pub(super) fn at(body: &'a [u8]) -> Option<Self> {
        rmp_serde::from_slice(body).ok()
    }
}

/// A field of the data, and the value that is wanted.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

impl Field {
    /// Whether the data of a record have all of them.
    pub(super) fn all_in(fields: &[Self], body: &[u8]) -> bool {
        let Ok(record) = rmp_serde::from_slice::<WithData<'_>>(body) else {
            return false;
        };
        fields.iter().all(|wanted| {
            let has = |(name, value): &(&str, Cow<'_, str>)| {
                *name == wanted.name && *value == *wanted.value
            };
            record.data.0.iter().any(has)
        })
    }
}

#[derive(Deserialize)]
struct WithData<'a> {
    #[serde(default, borrow)]
    data: Scalars<'a>,
}

/// The texts, numbers and booleans of a map, as they are written; of anything else none.
#[derive(Default)]
struct Scalars<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Scalars<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Map<'a> {
            type Value = Scalars<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut scalars = Vec::new();
                while let Some(name) = map.next_key::<&'de str>()? {
                    if let Scalar(Some(value)) = map.next_value()? {
                        scalars.push((name, value));
                    }
                }
                Ok(Scalars(scalars))
            }
        }
        deserializer.deserialize_map(Map(std::marker::PhantomData))
    }
}

/// A value as text; `None` where it has parts, which are skipped.
struct Scalar<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsText(std::marker::PhantomData))
    }
}

struct AsText<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for AsText<'a> {
    type Value = Scalar<'a>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(text.to_owned().into())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(number.to_string().into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(number.to_string().into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(number.to_string().into())))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar(Some(flag.to_string().into())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar(None))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Scalar(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        while parts.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        while parts.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::WorkflowRecord;

    fn record() -> WorkflowRecord {
        serde_json::from_value(json!({
            "id": "order-17", "definition": "order", "version": "1", "state": "paid", "status": "failed",
            "epoch": 3, "entry": 2, "attempt": 1, "created_at": 5, "updated_at": 7, "conversation_id": "talk",
            "data": { "customer": "acme", "total": 12, "open": true, "rate": 0.5, "lines": [{ "sku": 1 }], "note": null },
            "error": { "code": "CARD_REFUSED", "category": "PERMANENT", "message": "no", "recovery_strategy": "ABORT" },
        }))
        .unwrap()
    }

    #[test]
    fn a_peek_sees_what_the_record_says() {
        let record = record();
        let body = record.encode().unwrap();
        let peek = Peek::at(&body).unwrap();
        assert_eq!(peek.id, record.id.as_str());
        assert_eq!(peek.definition, record.definition.as_str());
        assert_eq!(peek.state, record.state.as_str());
        assert_eq!(peek.status, record.status.as_str());
        assert_eq!((peek.created_at, peek.updated_at), (5, 7));
        assert_eq!(peek.conversation_id, record.conversation_id.as_deref());
        assert_eq!(peek.error.unwrap().code, "CARD_REFUSED");
        assert!(Peek::at(b"no record").is_none());
    }

    #[test]
    fn fields_are_compared_as_they_are_written() {
        let body = record().encode().unwrap();
        let check = |name: &str, value: &str, expected: bool| {
            let (name, value) = (name.to_owned(), value.to_owned());
            let field = Field { name, value };
            assert_eq!(
                Field::all_in(std::slice::from_ref(&field), &body),
                expected,
                "{field:?}"
            );
        };
        check("customer", "acme", true);
        check("customer", "acm", false);
        check("total", "12", true);
        check("open", "true", true);
        check("rate", "0.5", true);
        check("lines", "", false);
        check("note", "", false);
        check("sku", "1", false);
    }

    #[test]
    fn data_that_are_no_map_have_no_fields() {
        let data = mcp_runtime::Raw::encode("just a text").unwrap();
        let body = WorkflowRecord { data, ..record() }.encode().unwrap();
        let (name, value) = ("customer".to_owned(), "acme".to_owned());
        assert!(!Field::all_in(&[Field { name, value }], &body));
        assert!(Peek::at(&body).is_some());
    }
}
