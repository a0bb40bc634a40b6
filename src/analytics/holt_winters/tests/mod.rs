mod fitting;
mod golden;
mod ladder;
mod local;
mod real;

/// Uniform in [-1, 1], the same everywhere (an integer hash of `n`).
fn noise(n: i64) -> f64 {
    let mut x = (n as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}
