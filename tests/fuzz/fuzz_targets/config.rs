//! A config file of anybody's making: reading it never panics, and the list of its errors can be drawn.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = avamgr_core::config::parse(text, "avamgr.toml") {
        assert!(!errors.render(false).is_empty(), "a refusal has a reason");
    }
});
