-- A typing mistake.
return {
  route = function(req, insts, cluster)
    local best, least = 1, math.huge
    for i, inst in insts do
      if inst.queue_deph < least then
        best, least = i, inst.queue_deph
      end
    end
    return best
  end,
}
