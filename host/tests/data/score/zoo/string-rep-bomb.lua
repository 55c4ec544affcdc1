-- A text of ten gigabytes.
return {
  route = function(req, insts, cluster)
    return #string.rep('x', 1e10)
  end,
}
