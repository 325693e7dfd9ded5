//! See `zoomhook::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoomhook::fuzzing::canonical(bytes));
