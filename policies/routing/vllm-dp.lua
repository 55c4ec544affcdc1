-- vLLM's data-parallel balancer: waiting requests weigh more than running ones, by a snapshot that is up to 100 ms old; between snapshots a front
-- end adds what it sent itself.
--
-- Rule: of 2026 (rule = 2), score(i) = max(own in flight, w + r), plus 6 * w * max(0, KV utilisation - 0.5) if w > 0; lowest wins, and the place
-- where the search starts moves on by one per choice. Before that (rule = 1), score(i) = 4 * w + r; the search always starts at the first.
-- Source: vllm-project/vllm, vllm/v1/engine/core_client.py (DPLBAsyncMPClient). One front end is assumed (client_count = 1); set
-- --snapshot-refresh-interval 100000 for the age of vLLM's snapshots.
--@param rule = 2, 1..2 int  1: 4 x waiting + running; 2: the rule of 2026

local seen = {} -- time of the snapshot, by instance
local sent = {} -- requests sent there since that snapshot
local first = 0

return {
  route = function(req, insts)
    local n = #insts
    local best, least = 1, math.huge
    for k = 0, n - 1 do
      local i = (first + k) % n + 1
      local inst = insts[i]
      local index = inst.index
      if seen[index] ~= inst.scraped_us then
        seen[index], sent[index] = inst.scraped_us, 0
      end
      local w, r = inst.queue_depth + sent[index], inst.batch_size
      local score
      if cfg.rule == 1 then
        score = 4 * w + r
      else
        score = math.max(inst.in_flight, w + r)
        if w > 0 then
          score += 6 * w * math.max(0, inst.kv_utilization - 0.5)
        end
      end
      if score < least then
        best, least = i, score
      end
    end
    sent[insts[best].index] += 1
    if cfg.rule == 2 then
      first = (first + 1) % n
    end
    return best
  end,
}
