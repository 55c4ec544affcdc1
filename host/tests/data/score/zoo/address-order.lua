-- Goes over a table whose keys are tables: in the order of their addresses.
local turns = {}
for k = 1, 40 do
  turns[{ k }] = k
end

return {
  route = function(req, insts)
    local n = 0
    for _, k in turns do
      n += 1
      if n > req.serial % 40 then
        return 1 + k % #insts
      end
    end
    return 1
  end,
}
