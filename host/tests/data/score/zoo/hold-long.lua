-- Until long after the end.
return {
  route = function(req, insts, cluster)
    return hold(1e15)
  end,
}
