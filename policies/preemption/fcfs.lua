-- The last one admitted loses its KV blocks.
--
-- Rule: the end of the batch, which may be the request that needs the block.
-- Source: vllm-project/vllm, vllm/v1/core/sched/scheduler.py, policy fcfs; the built-in `fcfs` decides the same.

return {
  victim = function(running)
    return #running
  end,
}
