//! Events kept on disk, bounded.
