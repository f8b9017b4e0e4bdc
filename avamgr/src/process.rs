//! Run a child with a deadline: group, TERM, grace, KILL, captured output.
