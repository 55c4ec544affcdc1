-- Random: every instance with the same chance. The stream of random numbers is keyed by seed and request, so a run repeats exactly.
--
-- Rule: uniform over the instances.
-- Source: sgl-project/sglang, sgl-model-gateway/src/policies/random.rs.

return {
  route = function(req, insts)
    return rng(#insts)
  end,
}
