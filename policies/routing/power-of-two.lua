-- Power of two choices: draws two different instances and takes the less loaded one. Nearly as good as looking at all, and herds far
-- less when signals are old.
--
-- Rule: i uniform, j uniform among the others; i if in_flight(i) <= in_flight(j), else j.
-- Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 2001; details (distinct draws, the first one
-- wins ties) from sgl-project/sglang, sgl-model-gateway/src/policies/power_of_two.rs. Its token load is left out: requests are counted.

return {
  route = function(req, insts)
    local n = #insts
    if n == 1 then
      return 1
    end
    local i = rng(n)
    local j = (i - 1 + rng(n - 1)) % n + 1
    return if insts[i].in_flight <= insts[j].in_flight then i else j
  end,
}
