//! What Python's `random` and numpy's legacy generator make of the Mersenne twister alike.

use rand_mt::Mt;

/// Uniform in 0 to 1, with 53 bits.
pub(super) fn uniform(twister: &mut Mt) -> f64 {
    let (high, low) = (twister.next_u32() >> 5, twister.next_u32() >> 6);
    (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
}
