//! Stories: the real daemons as nodes in network namespaces, with faults from outside.

mod diameter;
mod failover;
mod pair;
