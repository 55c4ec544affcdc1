-- First come, first served, written as a key: the order in which requests enter the wait queue.
--
-- Rule: key = number of the entry. A preempted request keeps its number and so stands in front of all that came after it.
-- Source: vllm-project/vllm, vllm/v1/core/sched/scheduler.py, policy fcfs. The built-in `fcfs` puts a preempted request at the very front; that
-- is the same place as long as the latest admission is preempted first (preemption fcfs).

local entries = 0

return {
  key = function(req)
    entries += 1
    return entries
  end,
}
