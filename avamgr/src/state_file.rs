//! Terms and holds on disk.
