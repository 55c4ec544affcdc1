-- By name.
return {
  route = function(req, insts, cluster)
    return 'instance_1'
  end,
}
