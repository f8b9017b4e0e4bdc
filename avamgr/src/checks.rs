//! One way to see whether something works: process, TCP, HTTP, script.
