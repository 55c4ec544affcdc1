-- Virtual Token Counter: fairness between tenants. Each tenant has a counter of the service it got; the waiting tenant with the least goes first,
-- and one that comes back after a pause is lifted to the others, so that time off gives no credit.
--
-- Rule: counter += input_weight * prompt_tokens when a request is taken into the batch, += output_weight per generated token. A tenant that had
-- nobody waiting and gets somebody is lifted to the least counter of those that wait. Inside a tenant by arrival; between equals, the tenant seen
-- first goes first.
-- Source: "Fairness in Serving Large Language Models", arXiv 2401.00588; Ying1123/VTC-artifact, slora/server/router/vtc_req_queue.py: weights 1
-- and 2, no lift if nobody else waits, cached prompts charged in full. Here counters are brought up to date when the queue is ordered and when a
-- request ends, not token by token, and lifts happen then too; a preempted request pays for its prompt once. plugins/vtc-fair decides the same.
--@param input_weight = 1, 0..100  Price of a prompt token
--@param output_weight = 2, 0..100  Price of a generated token

local tenants, counter = {}, {} -- in order of first appearance; by tenant
local charged = {} -- by request that was taken into the batch: output tokens paid for
local waited = {} -- requests that waited when the queue was ordered last

local function meet(tenant)
  if not counter[tenant] then
    counter[tenant] = 0
    table.insert(tenants, tenant)
  end
end

-- What a request has and did not pay for yet.
local function charge(one)
  meet(one.tenant)
  if not charged[one.serial] then
    charged[one.serial] = 0
    counter[one.tenant] += cfg.input_weight * one.prompt_tokens
  end
  local more = math.max(0, one.output_tokens - charged[one.serial])
  counter[one.tenant] += cfg.output_weight * more
  charged[one.serial] += more
end

-- Lifts the tenants that had nobody waiting and have somebody now.
local function lift(arrived)
  local waits = {}
  for _, req in ipairs(arrived) do
    if waited[req.serial] then
      waits[req.tenant] = true
    end
  end
  for _, req in ipairs(arrived) do
    local tenant = req.tenant
    meet(tenant)
    if not waits[tenant] then
      local least = math.huge
      for other in pairs(waits) do
        least = math.min(least, counter[other])
      end
      if least < math.huge then
        counter[tenant] = math.max(counter[tenant], least)
      end
      waits[tenant] = true
    end
  end
end

return {
  order = function(waiting, running)
    for _, req in ipairs(running) do
      charge(req)
    end
    local arrived, lines, at = table.clone(waiting), {}, {}
    table.sort(arrived, function(a, b)
      return if a.enqueued_us == b.enqueued_us then a.serial < b.serial else a.enqueued_us < b.enqueued_us
    end)
    lift(arrived)
    waited = {}
    for i, req in ipairs(waiting) do
      waited[req.serial], at[req.serial] = true, i
      lines[req.tenant] = lines[req.tenant] or {}
      table.insert(lines[req.tenant], req)
    end
    local ahead = table.clone(counter)
    for _, line in pairs(lines) do
      table.sort(line, function(a, b) return a.serial > b.serial end)
    end
    -- The head of the tenant with the least counter, which is then charged as if it was taken, and so on: a key is a turn.
    local keys = {}
    for turn = 1, #waiting do
      local first
      for _, tenant in ipairs(tenants) do
        if lines[tenant] and #lines[tenant] > 0 and (not first or ahead[tenant] < ahead[first]) then
          first = tenant
        end
      end
      local req = table.remove(lines[first])
      keys[at[req.serial]] = turn
      if not charged[req.serial] then
        ahead[first] += cfg.input_weight * req.prompt_tokens
      end
    end
    return keys
  end,

  on_complete = function(ev)
    -- One that left the queue without ever having run owes nothing.
    if ev.output_tokens > 0 or charged[ev.serial] then
      charge(ev)
    end
    charged[ev.serial] = nil
  end,
}
