-- Saturation shedding: a saturated cluster refuses sheddable requests (class priority below 0) and nobody else.
--
-- Rule: saturation = mean over i of max(queue_depth(i) / queue_limit, kv_utilization(i) / kv_limit), 1 without instances; reject at 1 or more.
-- Source: kubernetes-sigs/gateway-api-inference-extension, pkg/epp/requestcontrol/admission.go and the utilization detector, with its defaults, but
-- without its rule that metrics older than 200 ms count as saturated. The built-in `gaie-legacy` decides the same.
--@param queue_limit = 5, 0.001..1e6 log  Queue depth that counts as saturated
--@param kv_limit = 0.8, 0.001..1  KV utilisation that counts as saturated

return {
  admit = function(req, cluster)
    if req.class_priority >= 0 then
      return true
    end
    local sum, n = 0, #cluster.instances
    for _, inst in ipairs(cluster.instances) do
      sum += math.max(inst.queue_depth / cfg.queue_limit, inst.kv_utilization / cfg.kv_limit)
    end
    local saturation = if n == 0 then 1 else sum / n
    if saturation < 1 then
      return true
    end
    return false, string.format("gaie-saturated: saturation=%.2f", saturation)
  end,
}
