-- Counts from 0.
return {
  route = function(req, insts, cluster)
    return 0
  end,
}
