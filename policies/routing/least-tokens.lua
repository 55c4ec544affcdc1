-- Least outstanding tokens: the instance that owes the fewest prompt tokens. The file keeps its own ledger: a dispatch charges the prompt, the
-- end of the request takes it off again.
--
-- Rule: argmin over i of the sum of prompt_tokens over the requests sent to i and not yet ended; the first among equals.
-- Source: no paper defines it. The pending-tokens scorer of llm-d counts the same way (whole prompt until completion); plugins/least-tokens
-- is the compiled twin.

local owed = {} -- by position of the instance
local charged = {} -- by request, until it ends

return {
  route = function(req, insts)
    local best, least = 1, math.huge
    for i, inst in ipairs(insts) do
      local tokens = owed[inst.index] or 0
      if tokens < least then
        best, least = i, tokens
      end
    end
    return best
  end,

  on_dispatch = function(ev)
    owed[ev.instance] = (owed[ev.instance] or 0) + ev.prompt_tokens
    charged[ev.serial] = true
  end,

  on_complete = function(ev)
    if charged[ev.serial] then
      charged[ev.serial] = nil
      owed[ev.instance] -= ev.prompt_tokens
    end
  end,
}
