//! The structs exactly as the file is written.
