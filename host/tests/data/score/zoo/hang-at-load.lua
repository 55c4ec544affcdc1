-- Never gets as far as to return a policy.
local n = 0
while n >= 0 do
  n += 1
end
return {
  route = function(req, insts, cluster)
    return 1
  end,
}
