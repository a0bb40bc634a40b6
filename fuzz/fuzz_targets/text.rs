//! Arbitrary bytes as a text payload.
#![no_main]

mod common;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weir::decoder::Decoder;
use weir::decoder::settings::Format;

static DECODERS: LazyLock<Vec<Decoder>> = LazyLock::new(|| common::decoders(Format::Text));

fuzz_target!(|payload: &[u8]| common::run(&DECODERS, payload));
