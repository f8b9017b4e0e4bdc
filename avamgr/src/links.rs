//! Heartbeat paths: one socket, one task, one set of counters each.
