//! Timers derived from the failover budget.
