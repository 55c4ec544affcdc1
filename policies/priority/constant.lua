-- Everybody is equal.
--
-- Rule: priority = 0.
-- Source: the reference simulator BLIS, priority `constant`; the built-in decides the same.

return {
  priority = function(req)
    return 0
  end,
}
