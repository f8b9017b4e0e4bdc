//! Keyed digest around a frame.
