-- The least urgent one loses its KV blocks; among equals the latest arrival, then the last admitted.
--
-- Rule: the greatest (priority, arrival) in the batch, the last one among equals.
-- Source: the reference simulator BLIS, preemption `priority`; the built-in decides the same. vLLM (policy priority) takes the first among equals.

return {
  victim = function(running)
    local victim = 1
    for i, req in ipairs(running) do
      local worst = running[victim]
      if req.priority > worst.priority or (req.priority == worst.priority and req.arrival_us >= worst.arrival_us) then
        victim = i
      end
    end
    return victim
  end,
}
