//! CBOR that weir itself wrote: configuration, fits and state as they stand in frames and chunks.
//!
//! Pure. `serde_cbor` parses; what it finds reaches each type as a [`Token`], through a function pointer. Its
//! own deserialiser is generic in the type read: made for each of some 250, it was a seventh of the
//! program, and building weir's library took a sixth longer.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_cbor::Error;

/// The value in `bytes`, which must be one CBOR item and no more. Nesting is bounded by `serde_cbor`.
///
/// # Errors
/// When `bytes` are not CBOR, or not a `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_cbor::Deserializer::from_slice(bytes);
    let mut value = None;
    let mut take = |token: Token<'_>| {
        value = Some(T::deserialize(token)?);
        Ok(())
    };
    deserializer.deserialize_any(Handing(&mut take))?;
    deserializer.end()?;
    value.ok_or_else(nothing)
}

/// One item, or the begin of one with further items in it.
enum Token<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Array(&'a mut dyn Items),
    /// Key, value, key, …
    Map(&'a mut dyn Items),
}

/// Does with an item what its type wants.
type Take<'t> = &'t mut dyn FnMut(Token<'_>) -> Result<(), Error>;

trait Items {
    /// Hands the next one on; false when there is none.
    fn next(&mut self, take: Take<'_>) -> Result<bool, Error>;
    /// How many there are (of a map: pairs), where it is known.
    fn left(&self) -> Option<usize>;
}

fn nothing() -> Error {
    Error::custom("an item is missing")
}

/// What `serde_cbor` finds goes to `Take`.
struct Handing<'t>(Take<'t>);

impl<'de> DeserializeSeed<'de> for Handing<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Handing<'_> {
    fn hand<E: serde::de::Error>(self, token: Token<'_>) -> Result<(), E> {
        (self.0)(token).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for Handing<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value that weir writes")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.hand(Token::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.hand(Token::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.hand(Token::Unsigned(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.hand(Token::Signed(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.hand(Token::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.hand(Token::Text(value))
    }

    fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<(), E> {
        self.hand(Token::Bytes(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        self.hand(Token::Array(&mut Elements(access)))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        self.hand(Token::Map(&mut Entries { access, value: false }))
    }
}

/// The items of an array as `serde_cbor` gives them.
struct Elements<A>(A);

impl<'de, A: SeqAccess<'de>> Items for Elements<A> {
    fn next(&mut self, take: Take<'_>) -> Result<bool, Error> {
        let found = self.0.next_element_seed(Handing(take)).map_err(Error::custom)?;
        Ok(found.is_some())
    }

    fn left(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

/// The keys and values of a map, in turns.
struct Entries<A> {
    access: A,
    /// Whose turn it is.
    value: bool,
}

impl<'de, A: MapAccess<'de>> Items for Entries<A> {
    fn next(&mut self, take: Take<'_>) -> Result<bool, Error> {
        if self.value {
            self.value = false;
            self.access.next_value_seed(Handing(take)).map_err(Error::custom)?;
            return Ok(true);
        }
        let found = self.access.next_key_seed(Handing(take)).map_err(Error::custom)?;
        self.value = found.is_some();
        Ok(self.value)
    }

    fn left(&self) -> Option<usize> {
        self.access.size_hint()
    }
}

/// The next one, as what `seed` makes of it.
fn next<'de, S: DeserializeSeed<'de>>(
    items: &mut dyn Items,
    seed: S,
) -> Result<Option<S::Value>, Error> {
    let (mut seed, mut value) = (Some(seed), None);
    items.next(&mut |token| {
        value = Some(seed.take().ok_or_else(nothing)?.deserialize(token)?);
        Ok(())
    })?;
    Ok(value)
}

impl<'de> Deserializer<'de> for Token<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Token::Null => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            Token::Float(value) => visitor.visit_f64(value),
            Token::Text(value) => visitor.visit_str(value),
            Token::Bytes(value) => visitor.visit_bytes(value),
            Token::Array(items) => visitor.visit_seq(Open(items)),
            Token::Map(items) => visitor.visit_map(Open(items)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Token::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// A variant is its name, or a map of its name to its content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Token::Text(name) => {
                let name: StrDeserializer<'_, Error> = name.into_deserializer();
                visitor.visit_enum(name)
            }
            Token::Map(items) => visitor.visit_enum(Open(items)),
            _ => Err(Error::custom("no variant")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// An array or a map that is being read.
struct Open<'a>(&'a mut dyn Items);

impl<'de> SeqAccess<'de> for Open<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        next(self.0, seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.left()
    }
}

impl<'de> MapAccess<'de> for Open<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        next(self.0, seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        next(self.0, seed)?.ok_or_else(nothing)
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.left()
    }
}

impl<'de> EnumAccess<'de> for Open<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name = next(self.0, seed)?.ok_or_else(nothing)?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Open<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        next(self.0, std::marker::PhantomData::<()>)?.ok_or_else(nothing)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        next(self.0, seed)?.ok_or_else(nothing)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        next(self.0, Visiting(visitor))?.ok_or_else(nothing)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        next(self.0, Visiting(visitor))?.ok_or_else(nothing)
    }
}

/// What a visitor makes of an item.
struct Visiting<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Visiting<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Newtype(i32);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        Unit,
        Newtype(Newtype),
        Tuple(u8, f64),
        Struct { a: Option<bool>, b: Vec<Choice> },
    }

    /// One of each shape that stored types have.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Shapes {
        numbers: (u64, i64, f64, f32, u8),
        text: String,
        letter: char,
        choices: Vec<Choice>,
        map: BTreeMap<u32, [i16; 2]>,
        maybe: Option<Box<Newtype>>,
        unit: (),
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_out: Option<Choice>,
    }

    fn choice() -> impl Strategy<Value = Choice> {
        let leaf = prop_oneof![
            Just(Choice::Unit),
            any::<i32>().prop_map(|x| Choice::Newtype(Newtype(x))),
            any::<(u8, f64)>().prop_map(|(a, b)| Choice::Tuple(a, b)),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            let inner = proptest::collection::vec(inner, 0..4);
            (any::<Option<bool>>(), inner).prop_map(|(a, b)| Choice::Struct { a, b })
        })
    }

    prop_compose! {
        fn shapes()(
            numbers in any::<(u64, i64, f64, f32, u8)>(),
            (text, letter) in (".{0,40}", any::<char>()),
            choices in proptest::collection::vec(choice(), 0..4),
            map in proptest::collection::btree_map(any::<u32>(), any::<[i16; 2]>(), 0..4),
            maybe in proptest::option::of(any::<i32>()),
            left_out in proptest::option::of(choice()),
        ) -> Shapes {
            let maybe = maybe.map(|x| Box::new(Newtype(x)));
            Shapes { numbers, text, letter, choices, map, maybe, unit: (), left_out }
        }
    }

    proptest! {
        #[test]
        fn reads_what_serde_cbor_reads(shapes in shapes(), at in any::<prop::sample::Index>(), bits in 1u8..) {
            let mut bytes = serde_cbor::to_vec(&shapes).unwrap();
            prop_assert_eq!(&from_slice::<Shapes>(&bytes).unwrap(), &shapes);
            prop_assert!(from_slice::<Shapes>(&bytes[..bytes.len() - 1]).is_err());
            // Damaged, one may be stricter: weir never writes a variant as an array, for one.
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            let theirs = serde_cbor::from_slice::<Shapes>(&bytes);
            if let (Ok(mine), Ok(theirs)) = (from_slice::<Shapes>(&bytes), theirs) {
                prop_assert_eq!(format!("{mine:?}"), format!("{theirs:?}"));
            }
        }
    }

    #[test]
    fn what_is_more_or_less_than_one_item_is_refused() {
        assert_eq!(from_slice::<u8>(&[7]).unwrap(), 7);
        assert!(from_slice::<u8>(&[7, 7]).is_err());
        assert!(from_slice::<u8>(&[]).is_err());
        // Two variants at once; three items for a pair.
        let two = serde_cbor::to_vec(&BTreeMap::from([("Unit", ()), ("Newtype", ())])).unwrap();
        assert!(from_slice::<Choice>(&two).is_err());
        assert!(from_slice::<(u8, u8)>(&[0x83, 1, 2, 3]).is_err());
        let error = from_slice::<Newtype>(&[0x61, b'x']).unwrap_err().to_string();
        assert!(error.contains("invalid type: string \"x\", expected i32"), "{error}");
    }
}
