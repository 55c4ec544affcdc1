-- A token bucket for each tenant, so that one who sends too much takes nothing from the others. Requests without a tenant share a bucket.
--
-- Rule: as token-bucket.lua, with one bucket per tenant, full when the tenant first shows up.
-- Source: the mechanism is that of sgl-project/sglang, src/core/token_bucket.rs in its gateway (one global bucket, cost 1 per request); a bucket
-- per tenant, a cost of prompt tokens, and the defaults are ours.
--@param capacity = 10000, 1..1e9 log  Tokens a full bucket holds
--@param refill_rate = 1000, 0.001..1e9 log  Tokens per second and tenant

local buckets = {} -- by tenant

return {
  admit = function(req, cluster)
    local now = cluster.now_us
    local bucket = buckets[req.tenant] or { tokens = cfg.capacity, last = now }
    buckets[req.tenant] = bucket
    bucket.tokens = math.min(cfg.capacity, bucket.tokens + (now - bucket.last) * cfg.refill_rate / 1e6)
    bucket.last = now
    if bucket.tokens >= req.prompt_tokens then
      bucket.tokens -= req.prompt_tokens
      return true
    end
    return false, "insufficient tokens of this tenant"
  end,
}
