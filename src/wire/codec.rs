//! Heartbeat to bytes and back.
