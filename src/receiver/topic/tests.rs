use proptest::prelude::*;

use super::*;

/// `expect`: `name=text` pairs joined by spaces, or `None` for no match.
fn check(template: &str, topic: &str, expect: Option<&str>) {
    let parsed = Template::parse(template).unwrap();
    let got = parsed.capture(topic).map(|captures| {
        let pairs: Vec<String> = captures.iter().map(|(n, t)| format!("{n}={t}")).collect();
        pairs.join(" ")
    });
    assert_eq!(got.as_deref(), expect, "{template} on {topic}");
    if expect.is_some() {
        assert!(mqtt_match(&filter_without_share(&parsed), topic), "filter of {template}: {topic}");
    }
}

fn filter_without_share(template: &Template) -> String {
    let filter = template.filter();
    match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').unwrap().1.to_owned(),
        None => filter,
    }
}

/// MQTT 5, 4.7: what a broker does with a filter.
fn mqtt_match(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let (filter, open) = match filter.split_last() {
        Some((&"#", before)) => (before, true),
        _ => (&filter[..], false),
    };
    (topic.len() == filter.len() || open && topic.len() > filter.len())
        && filter.iter().zip(&topic).all(|(f, t)| *f == "+" || f == t)
}

#[test]
fn captures() {
    check("sensors/{device}/{metric}", "sensors/b3/temp", Some("device=b3 metric=temp"));
    check("sensors/{device}/{metric}", "sensors/b3", None);
    check("sensors/{device}/{metric}", "sensors/b3/temp/x", None);
    check("sensors/{device}/{metric}", "sensor/b3/temp", None);
    check("sensors/{device}/{metric}", "sensors//temp", None);
    check("sensors/{device}/{metric}", "sensors/b3/", None);
    check("plain/topic", "plain/topic", Some(""));
    check("plain/topic", "plain/topics", None);
    check("{d}", "ß", Some("d=ß"));
}

#[test]
fn captures_inside_a_level() {
    check("line-{n}/t", "line-7/t", Some("n=7"));
    check("line-{n}/t", "line-/t", None);
    check("line-{n}/t", "lane-7/t", None);
    check("{n}.temp", "a.temp", Some("n=a"));
    check("{n}.temp", ".temp", None);
    check("{a}-{b}", "x-y-z", Some("a=x b=y-z"));
    check("{a}-{b}", "x-", None);
    check("{a}-{b}", "-x", None);
    check("{a}-{b}", "-x-y", Some("a=-x b=y"));
    check("{a}-{b}.t", "x-y.t.t", Some("a=x b=y.t"));
    check("<{a}|{b}>", "<é|ü>", Some("a=é b=ü"));
}

#[test]
fn several_levels() {
    check("s/{path+}", "s/a", Some("path=a"));
    check("s/{path+}", "s/a/b/c", Some("path=a/b/c"));
    check("s/{path+}", "s", None);
    check("s/{path+}", "s/", None);
    check("{site+}/{device}/temp", "a/b/c/temp", Some("site=a/b device=c"));
    check("{site+}/{device}/temp", "a/c/temp", Some("site=a device=c"));
    check("{site+}/{device}/temp", "c/temp", None);
    check("{site+}/{device}/temp", "a/b/c/hum", None);
    check("x/{site+}/y/{d}", "x/y/y/y", Some("site=y d=y"));
}

#[test]
fn unnamed_wildcards() {
    check("+/{d}/#", "a/b", Some("d=b"));
    check("+/{d}/#", "a/b/c/d", Some("d=b"));
    check("+/{d}/#", "/b", Some("d=b"));
    check("+/{d}/#", "a", None);
    check("#", "a/b", Some(""));
}

#[test]
fn dollar_topics_need_a_literal_start() {
    check("+/{d}", "$SYS/x", None);
    check("{d}/x", "$SYS/x", None);
    check("#", "$SYS/x", None);
    check("$SYS/{d}", "$SYS/x", Some("d=x"));
}

#[test]
fn filters() {
    let check = |template: &str, filter: &str| {
        assert_eq!(Template::parse(template).unwrap().filter(), filter, "{template}");
    };
    check("sensors/{device}/{metric}", "sensors/+/+");
    check("line-{n}/t", "+/t");
    check("s/{path+}", "s/+/#");
    check("{path+}", "+/#");
    check("{site+}/{device}/temp", "+/+/+/#");
    check("a/+/#", "a/+/#");
    check("$share/g/s/{d}", "$share/g/s/+");
    check("/a//{b}", "/a//+");
}

#[test]
fn share_is_not_matched() {
    check("$share/g/s/{d}", "s/x", Some("d=x"));
    check("$share/g/s/{d}", "$share/g/s/x", None);
}

#[test]
fn faults_say_what_to_do() {
    let check = |template: &str, part: &str| {
        let fault = Template::parse(template).unwrap_err();
        assert!(fault.contains(part), "{template}: {fault}");
        assert!(fault.starts_with("topic template \""), "{fault}");
    };
    check("", "is empty");
    check("$share/g/", "is empty");
    check("$share//x", "GROUP");
    check("$share/{g}/x", "GROUP");
    check("a/#/b", "last level");
    check("{a+}/{b+}", "two wildcards");
    check("{a+}/#", "two wildcards");
    check("x{a+}", "stand alone");
    check("a+", "stand alone");
    check("{a}{b}", "separates");
    check("{a}/{a}", "twice");
    check("{a", "without `}`");
    check("a}", "without `{`");
    check("{}", "name is");
    check("{+}", "name is");
    check("{a b}", "name is");
    check("a\0b", "NUL");
    check("{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", "more than 8");
}

#[test]
fn encoding() {
    let check = |name: &str, level: &str| {
        assert_eq!(encode_level(name), level);
        assert_eq!(decode_level(level).as_deref(), Some(name));
    };
    check("plain-°C", "plain-°C");
    check("a/b", "a%2Fb");
    check("100%+#", "100%25%2B%23");
    check("\0\n\u{7f}\u{85}", "%00%0A%7F%C2%85");
    assert_eq!(decode_level("%2f").as_deref(), Some("/"));
    for bad in ["%", "%2", "%zz", "%+1", "%ff"] {
        assert_eq!(decode_level(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn encoding_round_trips(name: String) {
        let level = encode_level(&name).into_owned();
        prop_assert!(!level.contains(|c: char| "+#/".contains(c) || c.is_control()));
        let decoded = decode_level(&level);
        prop_assert_eq!(decoded.as_deref(), Some(name.as_str()));
    }

    #[test]
    fn never_panics(template in ".{0,40}", shape in "[{}+#/ab$-]{0,20}", topic in ".{0,40}") {
        for template in [template, shape] {
            if let Ok(parsed) = Template::parse(&template) {
                let _ = parsed.capture(&topic);
                let _ = parsed.filter();
            }
        }
        let _ = decode_level(&topic);
    }

    /// Whatever the template takes, the broker delivers for its filter; and what is put into the
    /// captures comes out again where literals cannot be confused with it.
    #[test]
    fn filter_covers_the_template(template in "(a|b|\\{x\\}|p-\\{y\\}|\\+)(/(a|\\{z\\}|\\+)){0,3}(/#|/\\{w\\+\\}(/a)?)?",
                                  topic in "(a|b|p-c|d)(/(a|b|p-c)){0,4}") {
        prop_assume!(template.matches("{z}").count() <= 1);
        let parsed = Template::parse(&template).unwrap();
        if parsed.capture(&topic).is_some() {
            prop_assert!(mqtt_match(&parsed.filter(), &topic), "{} {}", parsed.filter(), topic);
        }
        let plain = !template.contains("p-") && !template.contains("+}/");
        if plain && mqtt_match(&parsed.filter(), &topic) {
            prop_assert!(parsed.capture(&topic).is_some(), "{} {}", template, topic);
        }
    }
}
