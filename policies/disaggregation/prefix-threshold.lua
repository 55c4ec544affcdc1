-- Prefix threshold: an instance that prefills computes a prompt if the one that decodes lacks more
-- than so many tokens of it.
--
-- Rule: elsewhere if prompt tokens - cached blocks * block size > tokens.
-- Source: llm-d, prefix-based-pd-decider; BLIS, prefix-threshold; the built-in `prefix-threshold`
-- decides the same.
--@param tokens = 16, 0..1000000000 int  Most tokens that the decoding instance computes itself

return {
  disaggregate = function(req, inst)
    return req.prompt_tokens - inst:precise_prefix_blocks() * inst.block_size > cfg.tokens
  end,
}
