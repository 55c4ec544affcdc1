-- An error of 50 kilobytes.
return {
  route = function(req, insts, cluster)
    error(string.rep('very long ', 5000))
  end,
}
