-- An error of a megabyte.
return {
  route = function(req, insts, cluster)
    error(string.rep('very long ', 5000))
  end,
}
