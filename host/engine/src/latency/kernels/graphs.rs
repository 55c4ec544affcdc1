//! The sizes of steps for which vLLM captures CUDA graphs.

/// The largest; longer steps launch each kernel by itself.
pub(super) const LARGEST_GRAPH: u64 = 512;

/// The size of the graph that takes a step of so many tokens; above the largest, as many.
pub(super) fn padded(tokens: u64) -> u64 {
    match tokens {
        0..=2 => tokens,
        3..=4 => 4,
        5..=256 => tokens.next_multiple_of(8),
        257..=LARGEST_GRAPH => tokens.next_multiple_of(16),
        more => more,
    }
}
