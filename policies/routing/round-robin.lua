-- Round robin: the instances in turn, whatever their load.
--
-- Rule: request k goes to instance k mod n, counted from 0.
-- Source: sgl-project/sglang, sgl-model-gateway/src/policies/round_robin.rs; the built-in `round-robin` decides the same.

local turn = -1

return {
  route = function(req, insts)
    turn += 1
    return turn % #insts + 1
  end,
}
