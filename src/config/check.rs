//! Rules over several fields.
