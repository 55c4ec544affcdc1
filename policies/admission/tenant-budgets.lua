-- Tenant budgets: a tenant that has more than its share of the cluster's request slots in flight loses its sheddable requests (class priority
-- below 0). Important requests, and requests without a tenant, always come in.
--
-- Rule: reject if in flight(tenant) > share * slots and class priority < 0; slots = most requests the cluster can run at once.
-- Source: the reference simulator BLIS, `tenant_budgets` in its bundle; the built-in (bundle key tenant_budgets) decides the same. Shares for all
-- alike are the parameter; to give one tenant another, add a line to the table.
--@param share = 0.25, 0..1  Share of the slots that a tenant not in the table may use

local SHARES = {
  -- [symbol("acme")] = 0.5,
}

local in_flight = {} -- by tenant

return {
  admit = function(req, cluster)
    local tenant = req.tenant
    local share = SHARES[tenant] or cfg.share
    local over = tenant ~= 0 and (in_flight[tenant] or 0) > share * math.max(setup.slots, 1)
    if over and req.class_priority < 0 then
      return false, "tenant-budget-shed"
    end
    return true
  end,

  on_dispatch = function(ev)
    in_flight[ev.tenant] = (in_flight[ev.tenant] or 0) + 1
  end,

  on_complete = function(ev)
    in_flight[ev.tenant] = math.max(0, (in_flight[ev.tenant] or 0) - 1)
  end,
}
