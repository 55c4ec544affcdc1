-- Not a library function.
return {
  route = function(req, insts, cluster)
    return math.rand(#insts)
  end,
}
