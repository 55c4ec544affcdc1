-- Nobody comes in: the bad example at the door, for tests of what depends on it.
--
-- Rule: reject.
-- Source: the reference simulator BLIS, admission `reject-all`; the built-in decides the same.

return {
  admit = function(req, cluster)
    return false, "reject-all"
  end,
}
