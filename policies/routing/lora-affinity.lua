-- LoRA affinity: a request goes where its adapter is loaded, so that no time passes for loading it;
-- else where there is a place for one more adapter, else where a request waits for the same one.
--
-- Rule: argmax over i of (5 if the adapter is on the GPU of i, 3 if adapters of running and waiting
-- requests are fewer than max_loras, 4 if the GPU also has a free place, so that no other adapter
-- leaves it, 2 if a request waits for it there, else 1); ties by the least effective load, the
-- first among equals. Requests without an adapter go to the least loaded.
-- Source: the order is that of llm-d's `lora-affinity-scorer` (1, 0.8, 0.6, 0), which calls an
-- adapter active when a running request has it, as vLLM publishes no more; the free place is ours.
-- The built-in decides the same.

local function affinity(inst)
  if inst:adapter_loaded() then
    return 5
  elseif inst.max_loras == 0 or inst.running_lora_adapters + inst.waiting_lora_adapters < inst.max_loras then
    return if inst.max_loras == 0 or inst.loaded_lora_adapters < inst.max_loras then 4 else 3
  end
  return if inst:adapter_waiting() > 0 then 2 else 1
end

return {
  route = function(req, insts)
    local best, highest, least = 1, -1, math.huge
    for i, inst in ipairs(insts) do
      local suits = if req.adapter == 0 then 0 else affinity(inst)
      local load = inst.queue_depth + inst.batch_size + inst.in_flight
      if suits > highest or suits == highest and load < least then
        best, highest, least = i, suits, load
      end
    end
    return best
  end,
}
