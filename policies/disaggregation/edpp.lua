-- EDPP, empirical drift plus penalty: a prompt is computed where it adds least to the queues, each weighted by its length. Queues are the work on
-- instances, and, virtually, how late first tokens of a class were and how long the gaps between tokens on an instance.
--
-- Rule: elsewhere if the least over the instances p that prefill of cost(p) is less than cost(d) + Zi(d) * longer(d) / itl, where d decodes;
-- cost(i) = ahead(i) / ttft * prefill(i) / ttft + Zt(class) * est(i) / target + v * transfer(i) / target * ttft / target; est and transfer as in
-- least-ttft, which est(p) includes here; prefill(i) is the prompt's own time, ahead(i) = est(i) without either; longer(d) is what a chunk of the
-- prompt adds to a step of d. Zt += first token / target - 1 and Zi += mean gap / itl - 1, never below 0.
-- Source: BLIS, `--pd-decider edpp` (Lyapunov drift plus penalty for a decoding instance that is chosen already). It has step-time coefficients from a
-- file, we ask the run's step-time model; backlogs are what is ahead of the prompt. The built-in `edpp` decides the same.
--@param v = 1, 0..1000  Weight of the transfer against what is late
--@param ttft_ms = 500, 0..1000000  Target of requests that have none, and unit of backlogs, ms
--@param itl_ms = 50, 0..1000000  Target of gaps between tokens, ms

local SERVES, PREFILLS = 0, 1
local TTFT, ITL = math.max(1000 * cfg.ttft_ms, 1), math.max(1000 * cfg.itl_ms, 1)
local sent = {} -- what decoding instances were given to compute: times and tokens, by index
local targets, late = {}, {} -- by SLO class
local long = {} -- by index of the decoding instance
local decoding = {} -- index of the instance, by request that is not done with

local function sent_since(inst)
  local kept, tokens = {}, 0
  for _, one in ipairs(sent[inst.index] or {}) do
    if one.at > inst.scraped_us then
      table.insert(kept, one)
      tokens += one.tokens
    end
  end
  sent[inst.index] = kept
  return tokens
end

-- What the prompt costs on an instance; `more_us` comes on top of its time there.
local function cost(req, inst, unseen, target, transfer_us, last_us)
  local cached = math.min(inst:precise_prefix_blocks() * inst.block_size, req.prompt_tokens)
  local first = est_ttft_us(inst, req.prompt_tokens + unseen, cached)
  local prefill = est_prefill_us(req.prompt_tokens - cached, cached, inst)
  local ahead = math.max(first - prefill, 0)
  return ahead / TTFT * (prefill / TTFT)
    + (late[req.slo_class] or 0) * (first + transfer_us + last_us) / target
    + cfg.v * (transfer_us / target) * (TTFT / target)
end

local function done(ev)
  local index = decoding[ev.serial]
  decoding[ev.serial] = nil
  return index
end

return {
  disaggregate = function(req, inst, cluster)
    local target = if req.slo_ttft_us == 0 then TTFT else req.slo_ttft_us
    targets[req.slo_class] = target
    local lacking = req.prompt_tokens - math.min(inst:precise_prefix_blocks() * inst.block_size, req.prompt_tokens)
    local decodes, context = inst.decodes, inst.decode_context_tokens
    local chunk = math.min(lacking, math.max(inst.max_step_tokens - decodes, 0))
    local longer = est_step_us(chunk, decodes, context, inst) - est_step_us(0, decodes, context, inst)
    local here = cost(req, inst, sent_since(inst), target, 0, 0) + (long[inst.index] or 0) * longer / ITL
    local last = est_step_us(1, decodes, context, inst)
    local elsewhere = math.huge
    for _, other in ipairs(cluster.instances) do
      if other.role == PREFILLS or (other.role == SERVES and other.index ~= inst.index) then
        local unseen = 0
        if other.role == PREFILLS then
          unseen = math.max(0, other.dispatched_tokens - other.queued_prompt_tokens - other.running_prefill_tokens)
        end
        elsewhere = math.min(elsewhere, cost(req, other, unseen, target, est_transfer_us(other, lacking), last))
      end
    end
    decoding[req.serial] = inst.index
    if elsewhere < here then
      return true
    end
    table.insert(sent[inst.index], { at = cluster.now_us, tokens = lacking })
    return false
  end,

  on_first_token = function(ev)
    local target = targets[ev.slo_class]
    if target then
      late[ev.slo_class] = math.max((late[ev.slo_class] or 0) + ev.ttft_us / target - 1, 0)
    end
  end,

  on_complete = function(ev)
    local index = done(ev)
    if index and ev.outcome == 0 and ev.output_tokens > 1 then
      local gap = (ev.e2e_us - ev.ttft_us) / (ev.output_tokens - 1)
      long[index] = math.max((long[index] or 0) + gap / ITL - 1, 0)
    end
  end,

  on_reject = function(ev)
    done(ev)
  end,
}
