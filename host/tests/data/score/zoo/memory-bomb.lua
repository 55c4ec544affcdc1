-- Wants all memory at once.
return {
  route = function(req, insts, cluster)
    local all = {}
    for i = 1, 1e9 do
      all[i] = table.create(10000, i)
    end
    return 1
  end,
}
