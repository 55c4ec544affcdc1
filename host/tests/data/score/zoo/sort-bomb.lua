-- Sorts for ever.
return {
  route = function(req, insts, cluster)
    local list = table.create(100000, 1)
    local n = 0
    while n >= 0 do
      table.sort(list, function(a, b)
        return a < b
      end)
      n += 1
    end
    return 1
  end,
}
