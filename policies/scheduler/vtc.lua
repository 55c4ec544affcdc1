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
local waited, waits_now = {}, {} -- requests that waited when the queue was ordered last, and that do now
local lines, ahead = {}, {} -- by tenant: its line, and its counter with the turns it got
local orders, keys, heap = 0, {}, {} -- orders: how often the queue was ordered

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

-- Everybody who waits, in the line of the tenant; gives those who did not wait before.
local function line_up(waiting)
  local arrived = {}
  orders += 1
  table.clear(waits_now)
  for i, req in ipairs(waiting) do
    local serial = req.serial
    local line = lines[req.tenant] or {}
    lines[req.tenant] = line
    if line.order ~= orders then
      line.order, line.places, line.n, line.next, line.waited = orders, line.places or {}, 0, 1, false
    end
    waits_now[serial] = true
    if waited[serial] then
      line.waited = true
    else
      table.insert(arrived, req)
    end
    -- By serial: the queue is so, but for those who came since it was ordered last.
    local at = line.n
    while at > 0 and waiting[line.places[at]].serial > serial do
      line.places[at + 1] = line.places[at]
      at -= 1
    end
    line.places[at + 1] = i
    line.n += 1
  end
  waited, waits_now = waits_now, waited
  return arrived
end

-- The line of a tenant, if it has anybody waiting.
local function line_of(tenant)
  local line = lines[tenant]
  return if line and line.order == orders then line else nil
end

-- Lifts the tenants that had nobody waiting and have somebody now.
local function lift(arrived)
  table.sort(arrived, function(a, b)
    return if a.enqueued_us == b.enqueued_us then a.serial < b.serial else a.enqueued_us < b.enqueued_us
  end)
  for _, req in ipairs(arrived) do
    local tenant = req.tenant
    meet(tenant)
    if not lines[tenant].waited then
      local least = math.huge
      for _, other in ipairs(tenants) do
        local line = line_of(other)
        if line and line.waited then least = math.min(least, counter[other]) end
      end
      if least < math.huge then counter[tenant] = math.max(counter[tenant], least) end
      lines[tenant].waited = true
    end
  end
end

-- Of two places in the order of tenants, the one whose tenant goes first.
local function before(a, b)
  local x, y = ahead[tenants[a]], ahead[tenants[b]]
  return if x == y then a < b else x < y
end

-- Puts a tenant where it belongs in a heap of n, from place i down.
local function sink(i, n)
  local tenant = heap[i]
  while 2 * i <= n do
    local child = 2 * i
    if child < n and before(heap[child + 1], heap[child]) then child += 1 end
    if not before(heap[child], tenant) then break end
    heap[i] = heap[child]
    i = child
  end
  heap[i] = tenant
end

return {
  order = function(waiting, running)
    for _, req in ipairs(running) do charge(req) end
    lift(line_up(waiting))
    local n = 0
    table.clear(heap)
    for k, tenant in ipairs(tenants) do
      if line_of(tenant) then
        n += 1
        heap[n], ahead[tenant] = k, counter[tenant]
      end
    end
    for i = n // 2, 1, -1 do sink(i, n) end
    -- The head of the tenant with the least counter, which is then charged as if it was taken, and so on: a key is a turn.
    for turn = 1, #waiting do
      local first = tenants[heap[1]]
      local line = lines[first]
      local place = line.places[line.next]
      local req = waiting[place]
      keys[place] = turn
      line.next += 1
      if not charged[req.serial] then ahead[first] += cfg.input_weight * req.prompt_tokens end
      if line.next > line.n then
        heap[1] = heap[n]
        n -= 1
      end
      sink(1, n)
    end
    return keys
  end,

  on_complete = function(ev)
    -- One that left the queue without ever having run owes nothing.
    if ev.output_tokens > 0 or charged[ev.serial] then charge(ev) end
    charged[ev.serial] = nil
  end,
}
