//! Which blocks: names of consecutive ones, without a name for each.

use windtunnel_base::request::{Span, TokenSeq};

/// The names of consecutive blocks of one stream.
///
/// A block goes by its last token. As streams are rooted, a stream's blocks end at tokens that are
/// a block apart: together they are its *line*, in which they are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    /// The stream in the high half, the offset of the last token of block 0 in the low half.
    pub(crate) line: u64,
    /// Number of the first block in the line.
    pub(crate) first: u32,
    /// Blocks.
    pub(crate) blocks: u32,
}

impl KeyRange {
    /// The block of one key, of `size` tokens.
    pub(crate) fn of_key(key: u64, size: u32) -> Self {
        let offset = key as u32;
        Self {
            line: key - u64::from(offset) + u64::from(offset % size),
            first: offset / size,
            blocks: 1,
        }
    }

    /// One past the last block.
    pub(crate) fn end(&self) -> u32 {
        self.first + self.blocks
    }

    /// The same line from `first` up to `end`.
    pub(crate) fn part(&self, first: u32, end: u32) -> Self {
        Self {
            first,
            blocks: end - first,
            ..*self
        }
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.line == other.line && self.first < other.end() && other.first < self.end()
    }

    /// The keys of the blocks, of `size` tokens each.
    pub(crate) fn keys(self, size: u32) -> impl DoubleEndedIterator<Item = u64> {
        let key = move |block: u32| self.line + u64::from(block) * u64::from(size);
        (self.first..self.end()).map(key)
    }
}

/// Names the blocks of a sequence, in order.
#[derive(Clone, Debug)]
pub(crate) struct Keys<'a> {
    spans: std::slice::Iter<'a, Span>,
    output: std::slice::Iter<'a, Span>,
    span: Span,
    /// Tokens before the span.
    before: u32,
    /// Tokens of a block.
    size: u32,
    /// The block that is named next, and where to stop.
    next: u32,
    end: u32,
}

impl<'a> Keys<'a> {
    /// The full blocks of a prompt.
    pub(crate) fn of_prompt(prompt: &'a TokenSeq, size: u32) -> Self {
        Self::new(prompt.spans(), &[], size, 0, prompt.len() / size)
    }

    /// The blocks of a prompt and its output from block `from` up to block `to`, all of them full.
    pub(crate) fn of_both(
        prompt: &'a TokenSeq,
        output: &'a TokenSeq,
        size: u32,
        from: u32,
        to: u32,
    ) -> Self {
        if (from + 1) * size <= prompt.len() {
            return Self::new(prompt.spans(), output.spans(), size, from, to);
        }
        Self {
            before: prompt.len(),
            ..Self::new(output.spans(), &[], size, from, to)
        }
    }

    fn new(spans: &'a [Span], output: &'a [Span], size: u32, from: u32, to: u32) -> Self {
        Self {
            spans: spans.iter(),
            output: output.iter(),
            span: Span {
                stream: 0,
                start: 0,
                len: 0,
            },
            before: 0,
            size,
            next: from,
            end: to,
        }
    }
}

impl Iterator for Keys<'_> {
    type Item = KeyRange;

    fn next(&mut self) -> Option<KeyRange> {
        if self.next >= self.end {
            return None;
        }
        let last = (self.next + 1) * self.size - 1;
        while last - self.before >= self.span.len {
            self.before += self.span.len;
            let span = self.spans.next().or_else(|| self.output.next());
            self.span = *span.expect("a stored token lies inside the sequence");
        }
        let in_span = (self.before + self.span.len) / self.size;
        let key =
            (u64::from(self.span.stream) << 32) | u64::from(self.span.start + (last - self.before));
        let range = KeyRange {
            blocks: in_span.min(self.end) - self.next,
            ..KeyRange::of_key(key, self.size)
        };
        self.next += range.blocks;
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_name_the_blocks_that_single_keys_name() {
        let spans = [(7, 0, 5), (9, 3, 6), (9, 40, 33), (2, 1, 1), (7, 5, 30)];
        let mut whole = TokenSeq::default();
        for (stream, start, len) in spans {
            whole.push(Span { stream, start, len });
        }
        for prompt in 0..whole.len() {
            let mut parts = [TokenSeq::default(), TokenSeq::default()];
            for position in 0..whole.len() {
                let key = whole.token_key(position).unwrap();
                parts[usize::from(position >= prompt)].push(Span {
                    stream: (key >> 32) as u32,
                    start: key as u32,
                    len: 1,
                });
            }
            for size in [1, 3, 4, 16] {
                let all: Vec<u64> = whole.block_keys(size).collect();
                for from in 0..all.len() as u32 {
                    let to = all.len() as u32;
                    let keys = Keys::of_both(&parts[0], &parts[1], size, from, to);
                    let keys: Vec<u64> = keys.flat_map(|range| range.keys(size)).collect();
                    assert_eq!(keys, all[from as usize..]);
                }
                let alone: Vec<u64> = Keys::of_prompt(&parts[0], size)
                    .flat_map(|range| range.keys(size))
                    .collect();
                assert_eq!(alone, parts[0].block_keys(size).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_span_is_one_range() {
        let prompt = TokenSeq::of(3, 1000);
        let ranges: Vec<KeyRange> = Keys::of_prompt(&prompt, 16).collect();
        let whole = KeyRange {
            line: (3 << 32) + 15,
            first: 0,
            blocks: 62,
        };
        assert_eq!(ranges, [whole]);
        assert_eq!(KeyRange::of_key((3 << 32) + 31, 16), whole.part(1, 2));
    }
}
