-- FIFO: first come, first served, whatever the class; with turns, the tenants one after the other.
--
-- Rule: the least sequence; with turns, the least of the tenant behind the last one, as they first
-- came.
-- Source: a plain queue; the built-in `fifo` decides the same.
--@param turns = 0, 0..1 int  1: tenants one after the other; 0: who came first goes first

local last = nil

return {
  next_held = function(held)
    local first, flows = {}, {}
    for i, req in ipairs(held) do
      local best = first[req.flow]
      if best == nil then
        table.insert(flows, req.flow)
      end
      if best == nil or req.sequence < held[best].sequence then
        first[req.flow] = i
      end
    end
    local chosen = 1
    if cfg.turns > 0 then
      table.sort(flows)
      local at = table.find(flows, last)
      chosen = if at then at % #flows + 1 else 1
    else
      for k, flow in ipairs(flows) do
        if held[first[flow]].sequence < held[first[flows[chosen]]].sequence then
          chosen = k
        end
      end
    end
    last = flows[chosen]
    return first[last]
  end,
}
