//! The lab: nodes out of Linux namespaces on one machine, with cables to pull and a client that measures outages.
//!
//! Each host owns a network, mounts, a host name and processes of its own, so a real daemon runs in it as on a machine,
//! and two of them share nothing they would not share in a rack. Stories of the daemons, the bench and `avamgr demo`
//! are built on it. It needs root, or an ordinary account that may make user namespaces
//! ([`enter_user_namespace`]); everything but packet loss works without any program installed.
//!
//! ```no_run
//! # fn main() -> Result<(), avamgr_lab::LabError> {
//! use std::time::Duration;
//! use avamgr_lab::{Lab, Plan, wait_until};
//!
//! let lab = Lab::start(Plan::pair())?;
//! let node = lab.host("hadev1")?;
//! node.write("/etc/avamgr/avamgr.toml", "...")?;
//! let daemon = node.command("avamgrd").args(["--config", "/etc/avamgr/avamgr.toml"]).spawn()?;
//! let vip = "172.16.9.61".parse().expect("an address");
//! wait_until(Duration::from_secs(5), "the VIP on hadev1", || lab.owners().of(vip) == ["hadev1"])?;
//! lab.pull("hb1")?;
//! daemon.kill9()?;
//! # Ok(())
//! # }
//! ```

mod announce;
mod answers;
mod cables;
mod echo;
mod error;
mod faults;
mod files;
mod holder;
mod host;
mod lab;
mod namespaces;
pub mod netlink;
mod outage;
mod owners;
mod plan;
mod power;
mod probe;
mod process;
mod scratch;
mod seccomp;
mod steady;
mod story;
mod switch;
mod sysctl;
mod syslog;
mod usage;
mod userns;
mod wait;
mod worker;

pub use announce::{Announcement, Announcements};
pub use answers::{Answers, Both, Seen};
pub use echo::ECHO_PORT;
pub use error::{LabError, Result, UserNamespaceError};
pub use faults::Way;
pub use host::Host;
pub use lab::{Lab, mark};
pub use netlink::Carrier;
pub use outage::{Outage, Sightings, Stall, Takeover, Turn};
pub use owners::{Change, Owners, Ownership};
pub use plan::{ARBITRATOR, Cidr, HostKind, HostPlan, NetworkPlan, NicPlan, Plan, VIP, VIP6, Wiring};
pub use power::PowerOff;
pub use probe::{Pace, Probe};
pub use process::{HostCommand, Process};
pub use scratch::Scratch;
pub use steady::on_a_steady_machine;
pub use story::story;
pub use usage::Usage;
pub use userns::{enter_user_namespace, explain, within_user_namespace};
pub use wait::{wait_for, wait_until};
