//! THE SIMULATOR: several nodes, virtual time, one event queue, one seed.
