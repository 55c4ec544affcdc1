-- Leans on the order of pairs.
return {
  route = function(req, insts, cluster)
    local weights = { alpha = 1, beta = 2, gamma = 3, delta = 4, epsilon = 5 }
    local k = 0
    for name, weight in pairs(weights) do
      k = (k * 31 + #name * weight) % 1000003
    end
    return 1 + (k + req.serial) % #insts
  end,
}
