//! Services as the daemon runs them: orders in, reports out, real children and real init scripts in between.

#[path = "services/exec.rs"]
mod exec;
#[path = "services/lsb.rs"]
mod lsb;
#[path = "services/stage.rs"]
mod stage;
