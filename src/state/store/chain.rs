//! The record of what the store must hold. Pure.
//!
//! ```text
//! commit u32 | digest of meta u64 (0: none) | sums [u32; BUCKETS] | deleted units u32 …
//! ```
//!
//! A sum is over the low halves of the digests of the units in its bucket, wrapping: no order.

use std::collections::BTreeSet;

/// Buckets of the sums. A lost value casts doubt on the units of its bucket only: 20 of 10,000.
pub const BUCKETS: usize = 512;

/// The bucket that a unit's digest is summed in.
pub fn bucket_of(unit: u32) -> usize {
    unit as usize % BUCKETS
}

const FIXED_BYTES: usize = 12 + 4 * BUCKETS;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Number of the commit that wrote it; later ones are half-done.
    pub commit: u32,
    /// Digest of the meta value; 0 when there is none.
    pub meta_digest: u64,
    /// Units deleted by that commit, whose keys may still be there.
    pub dead: BTreeSet<u32>,
    sums: Vec<u32>,
}

impl Chain {
    pub(super) fn new(commit: u32, meta_digest: u64) -> Chain {
        Chain { commit, meta_digest, dead: BTreeSet::new(), sums: vec![0; BUCKETS] }
    }

    pub(super) fn add(&mut self, unit: u32, digest: u64) {
        let sum = &mut self.sums[bucket_of(unit)];
        *sum = sum.wrapping_add(digest as u32);
    }

    /// Buckets whose sums differ.
    pub(super) fn differing<'a>(&'a self, other: &'a Chain) -> impl Iterator<Item = usize> + 'a {
        (0..BUCKETS).filter(|&bucket| self.sums[bucket] != other.sums[bucket])
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + 4 * self.dead.len());
        out.extend_from_slice(&self.commit.to_le_bytes());
        out.extend_from_slice(&self.meta_digest.to_le_bytes());
        for word in self.sums.iter().chain(&self.dead) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Chain> {
        let (words, rest) = bytes.as_chunks::<4>();
        if bytes.len() < FIXED_BYTES || !rest.is_empty() {
            return None;
        }
        let words: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
        let meta_digest = u64::from(words[1]) | u64::from(words[2]) << 32;
        let (sums, dead) = words[3..].split_at(BUCKETS);
        let dead = dead.iter().copied().collect();
        Some(Chain { commit: words[0], meta_digest, dead, sums: sums.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_read_as_written() {
        let mut chain = Chain::new(7, u64::MAX - 3);
        chain.add(0, 5);
        chain.add(513, u64::MAX);
        chain.dead = [3, 900_000].into();
        let bytes = chain.encode();
        assert_eq!(bytes.len(), FIXED_BYTES + 8);
        assert_eq!(Chain::decode(&bytes), Some(chain));
        for cut in [0, 4, FIXED_BYTES - 4, FIXED_BYTES + 1] {
            assert_eq!(Chain::decode(&bytes[..cut]), None);
        }
    }

    #[test]
    fn sums_do_not_depend_on_order_and_name_the_bucket() {
        let (mut one, mut two) = (Chain::new(1, 0), Chain::new(1, 0));
        for unit in 0..2000 {
            one.add(unit, u64::from(unit).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
        }
        for unit in (0..2000).rev().filter(|&unit| unit != 700) {
            two.add(unit, u64::from(unit).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
        }
        assert_eq!(one.differing(&two).collect::<Vec<_>>(), [188]);
    }
}
