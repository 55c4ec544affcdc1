-- An error of a megabyte.
return {
  route = function(req, insts, cluster)
    error(string.rep('very long ', 100000))
  end,
}
