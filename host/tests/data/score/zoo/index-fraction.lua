-- Between two instances.
return {
  route = function(req, insts, cluster)
    return 1.5
  end,
}
