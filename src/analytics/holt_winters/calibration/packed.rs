//! Numbers as one string of bytes, little-endian: no byte of type before each of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// A float of fixed size.
pub trait Packed: Copy {
    fn push(self, bytes: &mut Vec<u8>);
    /// All of `bytes`; `None` when they are no whole number of finite floats.
    fn all(bytes: &[u8]) -> Option<Vec<Self>>;
}

macro_rules! packed {
    ($float:ty) => {
        impl Packed for $float {
            fn push(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn all(bytes: &[u8]) -> Option<Vec<$float>> {
                let chunks = bytes.chunks(size_of::<$float>());
                let float = |chunk: &[u8]| chunk.try_into().map(<$float>::from_le_bytes).ok();
                chunks.map(|chunk| float(chunk).filter(|f| f.is_finite())).collect()
            }
        }
    };
}
packed!(f32);
packed!(f64);

pub fn serialize<T: Packed, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    values.iter().for_each(|value| value.push(&mut bytes));
    serializer.serialize_bytes(&bytes)
}

pub fn deserialize<'de, T: Packed, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Bytes<T>(PhantomData<T>);
    impl<T: Packed> Visitor<'_> for Bytes<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "finite {}-byte floats as bytes", size_of::<T>())
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
            T::all(bytes).ok_or_else(|| E::custom("no whole number of finite floats"))
        }
    }
    deserializer.deserialize_bytes(Bytes(PhantomData))
}
