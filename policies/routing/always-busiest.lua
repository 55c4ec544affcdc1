-- Always the busiest: the instance with the most effective load. What a broken balancer would do, for comparison.
--
-- Rule: argmax over i of queue_depth(i) + batch_size(i) + in_flight(i); the first among equals.
-- Source: the reference simulator BLIS, policy `always-busiest`; the built-in decides the same.

return {
  route = function(req, insts)
    local best, most = 1, 0
    for i, inst in ipairs(insts) do
      local load = inst.queue_depth + inst.batch_size + inst.in_flight
      if load > most then
        best, most = i, load
      end
    end
    return best
  end,
}
