-- Token bucket: every prompt token costs one token of a bucket that starts full and refills with time. What does not fit is refused.
--
-- Rule: tokens = min(capacity, tokens + elapsed * rate); admit if prompt_tokens <= tokens, and take them out; a refusal costs nothing. A prompt
-- longer than the bucket never comes in.
-- Source: the reference simulator BLIS, admission `token-bucket`; the built-in decides the same.
--@param capacity = 10000, 1..1e9 log  Tokens the full bucket holds
--@param refill_rate = 1000, 0.001..1e9 log  Tokens per second

local tokens, last = cfg.capacity, 0

return {
  admit = function(req, cluster)
    local elapsed = cluster.now_us - last
    if elapsed > 0 then
      tokens = math.min(cfg.capacity, tokens + elapsed * cfg.refill_rate / 1e6)
      last = cluster.now_us
    end
    if tokens >= req.prompt_tokens then
      tokens -= req.prompt_tokens
      return true
    end
    return false, "insufficient tokens"
  end,
}
