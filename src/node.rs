//! One node's decision.

pub mod action;
pub mod event;
pub mod input;

pub use action::{Action, Durable, Order};
pub use event::{Event, Fact};
pub use input::{Input, Report};
