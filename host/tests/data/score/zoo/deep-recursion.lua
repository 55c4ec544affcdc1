-- Calls itself for ever.
return {
  route = function(req, insts, cluster)
    local function down(n)
      return 1 + down(n + 1)
    end
    return down(1)
  end,
}
