//! The few netlink requests we need, in batches.
