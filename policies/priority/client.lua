-- The priority that the client sends: lower is more urgent, 0 by default, whatever the class.
--
-- Rule: priority = the request's own.
-- Source: vLLM, --scheduling-policy priority; the built-in `client` decides the same.

return {
  priority = function(req)
    return req.client_priority
  end,
}
