//! What is asked of a server, in which order.

/// A question to a server, of one request or of several at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// One request alone.
    Single {
        /// Tokens of its prompt.
        prompt: u64,
        /// Tokens of its answer.
        output: u64,
    },
    /// Equal requests, all at once.
    Batch {
        /// How many.
        requests: u64,
        /// Tokens of each prompt.
        prompt: u64,
        /// Tokens of each answer.
        output: u64,
    },
    /// A request that comes while others decode.
    Joining {
        /// Requests that decode.
        decodes: u64,
        /// Tokens of their prompts.
        decode_prompt: u64,
        /// Tokens of its prompt.
        prompt: u64,
    },
}

/// How far the recipe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Most tokens of a prompt.
    pub prompt_tokens: u64,
    /// Most requests at once.
    pub concurrency: u64,
    /// Most new tokens of a step.
    pub step_tokens: u64,
    /// Most tokens of prompt and answer.
    pub model_len: u64,
    /// Most tokens of all requests together.
    pub kv_tokens: u64,
}

/// Prompt tokens of those that are there to decode.
const SHORT: u64 = 16;
/// Tokens of the answer to a single prompt.
const FEW: u64 = 9;
/// Tokens of the answers of those that decode together.
pub const MANY: u64 = 41;
/// Times that each probe is made.
const ROUNDS: usize = 3;

/// Warms the server up; what comes back is not looked at.
pub const WARM_UP: Probe = Probe::Batch {
    requests: 2,
    prompt: 24,
    output: 8,
};

/// The probes, in rounds, of which the first one suffices for a table: what disturbs the server for
/// a while meets all sizes alike.
pub fn recipe(reach: &Reach) -> Vec<Probe> {
    let mut probes = Vec::new();
    for _ in 0..ROUNDS {
        let singles = prompts(reach).into_iter();
        probes.extend(singles.map(|prompt| Probe::Single {
            prompt,
            output: FEW.min(reach.model_len - prompt),
        }));
        probes.extend(decoding(reach));
        probes.extend(joining(reach));
    }
    probes
}

/// Batches that decode together: of short prompts, then of long ones, which read more.
fn decoding(reach: &Reach) -> Vec<Probe> {
    let mut probes = Vec::new();
    for prompt in [SHORT, reach.prompt_tokens / 2] {
        for requests in batches(reach.concurrency) {
            let output = MANY.min(reach.model_len.saturating_sub(prompt));
            let fits = requests * (prompt + output) <= reach.kv_tokens;
            if fits && prompt > 0 && output > 1 {
                probes.push(Probe::Batch {
                    requests,
                    prompt,
                    output,
                });
            }
        }
    }
    probes
}

/// Prompts of several sizes that come while some, or as many as may be, decode.
fn joining(reach: &Reach) -> Vec<Probe> {
    let mut probes = Vec::new();
    let all_but_one = reach.concurrency.saturating_sub(1);
    let mut decoding = vec![1, reach.concurrency / 4, all_but_one];
    decoding.retain(|n| (1..=all_but_one).contains(n));
    decoding.dedup();
    for decodes in decoding {
        let most = reach.step_tokens.saturating_sub(decodes);
        for share in [16, 4, 1] {
            let prompt = most.min(reach.prompt_tokens) / share;
            let kv = decodes * (SHORT + MANY) + prompt + 1;
            let lengths = (SHORT + MANY).max(prompt + 1) <= reach.model_len;
            if prompt > 0 && lengths && kv <= reach.kv_tokens {
                probes.push(Probe::Joining {
                    decodes,
                    decode_prompt: SHORT,
                    prompt,
                });
            }
        }
    }
    probes
}

/// Lengths of single prompts: 1, then powers of 2 and what is between them, to the most that fits
/// into a step; beyond, whole steps.
fn prompts(reach: &Reach) -> Vec<u64> {
    let one_step = reach.prompt_tokens.min(reach.step_tokens);
    let mut all = vec![1];
    let mut size = 8;
    while size < one_step {
        all.push(size);
        if size >= 128 && size + size / 2 < one_step {
            all.push(size + size / 2);
        }
        size *= 2;
    }
    let whole = (1..).map(|k| k * reach.step_tokens);
    all.extend(whole.take_while(|n| *n <= reach.prompt_tokens).take(8));
    all.push(one_step);
    all.sort_unstable();
    all.dedup();
    all.retain(|n| *n > 0);
    all
}

/// Sizes of batches: powers of 2, and the most.
fn batches(most: u64) -> Vec<u64> {
    let mut all: Vec<u64> = (0..63).map(|k| 1 << k).take_while(|n| *n < most).collect();
    all.push(most);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach {
        prompt_tokens: 1024,
        concurrency: 6,
        step_tokens: 512,
        model_len: 1100,
        kv_tokens: 4000,
    };

    #[test]
    fn prompts_grow_to_the_size_of_a_step_and_then_by_whole_steps() {
        let expected = [1, 8, 16, 32, 64, 128, 192, 256, 384, 512, 1024];
        assert_eq!(prompts(&REACH), expected);
        assert_eq!(batches(6), [1, 2, 4, 6]);
        assert_eq!(batches(1), [1]);
    }

    #[test]
    fn nothing_is_asked_for_that_does_not_fit() {
        for probe in recipe(&REACH) {
            let (requests, tokens) = match probe {
                Probe::Single { prompt, output } => (1, prompt + output),
                Probe::Batch {
                    requests,
                    prompt,
                    output,
                } => (requests, prompt + output),
                Probe::Joining {
                    decodes, prompt, ..
                } => {
                    assert!(prompt + decodes <= REACH.step_tokens);
                    (1, prompt + 1)
                }
            };
            assert!(
                tokens <= REACH.model_len && requests * tokens <= REACH.kv_tokens,
                "{probe:?}"
            );
        }
    }
}
