-- Everybody comes in.
--
-- Rule: admit.
-- Source: the default of every serving system; the built-in `always-admit` decides the same.

return {
  admit = function(req, cluster)
    return true
  end,
}
