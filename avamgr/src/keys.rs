//! The key file: numbered keys of the heartbeats.
