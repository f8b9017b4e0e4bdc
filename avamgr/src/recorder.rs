//! Every input with its instant, in a bounded file, for replay.
