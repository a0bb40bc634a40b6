//! Arbitrary templates on arbitrary topics: what is captured lies in the topic, and names survive
//! percent-encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::receiver::topic::{Template, decode_level, encode_level};

fuzz_target!(|texts: (&str, &str)| {
    let (template, topic) = texts;
    let level = encode_level(topic);
    assert!(!level.contains(['+', '#', '/', '\0']));
    assert_eq!(decode_level(&level).as_deref(), Some(topic));
    let _ = decode_level(topic);
    if let Ok(template) = Template::parse(template) {
        let _ = template.filter();
        if let Some(captures) = template.capture(topic) {
            assert!(captures.iter().all(|(_, text)| !text.is_empty() && topic.contains(text)));
        }
    }
});
