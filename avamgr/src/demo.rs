//! The newcomer's first command: a pair on one machine.
