//! What is wrong with a config.
