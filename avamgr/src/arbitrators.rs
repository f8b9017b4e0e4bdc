//! Arbitrators: who decides when every link is silent.
//!
//! Each runs beside the loop, is asked with `Action::Ask` and answers with `Input::Verdict`.

pub mod ping;
