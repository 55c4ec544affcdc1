-- Makes code at run time.
return {
  route = function(req, insts, cluster)
    return loadstring('return 1')()
  end,
}
