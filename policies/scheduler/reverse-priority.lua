-- Least urgent first: what a scheduler with the sign the wrong way round would do, for comparison.
--
-- Rule: key = -priority, smallest first; among equals by arrival.
-- Source: the reference simulator BLIS, scheduler `reverse-priority`; the built-in decides the same.

return {
  key = function(req)
    return -req.priority
  end,
}
