-- Windowed: as greedy, but an idle engine waits until enough requests wait or the first of them has
-- waited for the window.
--
-- Rule: hold until the head's arrival in the queue + window_us while fewer than min_batch_size
-- wait. What was collected once, and has its KV cache here, is not collected again.
-- Source: XpuSim, windowed, with the wake-up that it lacks; the built-in `windowed` decides the
-- same.
--@param min_batch_size = 1, 1..inf int  Waiting requests that make a batch
--@param window_us = 10000, 0..1e15 int  Longest wait of the first request for others, microseconds

return {
  batch = function(step, head, queue)
    local limits = { max_prefill_tokens = step.long_prefill_token_threshold, decodes_wait = true }
    if head == nil or queue.batch_size > 0 then
      limits.max_admissions = 0
      return limits
    end
    local opens = head.enqueued_us + cfg.window_us
    local collects = step.with_kv == 0 and queue.queue_depth < cfg.min_batch_size
    if collects and queue.now_us < opens then
      limits.max_admissions = 0
      limits.hold_until_us = opens
    end
    return limits
  end,
}
