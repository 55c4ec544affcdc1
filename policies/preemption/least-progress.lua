-- The one that loses least: the running request with the fewest computed tokens; among equals the last admitted.
--
-- Rule: argmin of computed_tokens, the last one among equals. Tokens found in the prefix cache count as computed.
-- Source: ours; no serving system was found that chooses so. LTR and FastServe take off the lowest-ranked request instead.

return {
  victim = function(running)
    local victim = 1
    for i, req in ipairs(running) do
      if req.computed_tokens <= running[victim].computed_tokens then
        victim = i
      end
    end
    return victim
  end,
}
