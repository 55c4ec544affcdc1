-- Least loaded: the instance with the least effective load.
--
-- Rule: argmin over i of queue_depth(i) + batch_size(i) + in_flight(i); the first among equals. A request in flight that already waits or
-- runs counts twice, as in the reference simulator.
-- Source: the reference simulator BLIS (inference-sim), policy `least-loaded`; the built-in decides the same.

return {
  route = function(req, insts)
    local best, least = 1, math.huge
    for i, inst in ipairs(insts) do
      local load = inst.queue_depth + inst.batch_size + inst.in_flight
      if load < least then
        best, least = i, load
      end
    end
    return best
  end,
}
