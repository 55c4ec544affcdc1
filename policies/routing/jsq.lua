-- Join the shortest queue, also called least request: the instance with the fewest requests in flight, as the front end counts them itself.
-- The count is always fresh, so bursts spread. Written in the buffer style, which is the fastest.
--
-- Rule: argmin over i of in_flight(i); the first among equals.
-- Source: there is no single one. sgl-project/sglang counts requests at the router and takes the first index among equals; Envoy's
-- LEAST_REQUEST draws two by default, see power-of-two.lua.

local IN_FLIGHT = column("in_flight")

return {
  route_columns = function(req, columns, n)
    local best, least = 1, math.huge
    for i = 1, n do
      local load = buffer.readf64(columns, IN_FLIGHT + 8 * (i - 1))
      if load < least then
        best, least = i, load
      end
    end
    return best
  end,
}
