-- Has the library search for ever.
return {
  route = function(req, insts, cluster)
    string.find(string.rep('a', 3000), string.rep('a*', 30) .. 'b')
    return 1
  end,
}
