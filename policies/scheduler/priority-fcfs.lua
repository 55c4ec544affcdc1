-- Most urgent first, by the priority that the priority policy gave; among equals by arrival.
--
-- Rule: key = priority, smallest first.
-- Source: vllm-project/vllm, vllm/v1/core/sched/request_queue.py, policy priority (priority, then arrival time); the built-in decides the same.

return {
  key = function(req)
    return req.priority
  end,
}
