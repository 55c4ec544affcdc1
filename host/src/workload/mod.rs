//! (room workload)
