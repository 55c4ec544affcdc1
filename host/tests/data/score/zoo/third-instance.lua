-- Knows its cluster: there are three instances. In one scenario there are two.
return {
  route = function(req, insts, cluster)
    return 3
  end,
}
