//! Who decides when every link is silent: one task each, verdicts become inputs.
