//! Checks across tables that share a broker: no loops, no two clients of one name.

use super::broker::PlacedForward;
use super::reader::{Spot, TableReader};
use super::sections::{Mqtt, ResultKind, Results};

/// Refuses subscriptions that would read weir's own messages back, and clients that would
/// disconnect each other for ever.
pub(super) fn check(
    root: &TableReader<'_, '_>,
    mqtt: &Mqtt,
    results: &Results,
    prefix: Option<Spot>,
    forwards: &[PlacedForward],
) {
    let cx = root.cx;
    let topics = || mqtt.subscribe.iter().flat_map(|s| &s.topics);
    if results.enabled
        && let Some(topic) = topics().find(|topic| reads_results(topic, &results.prefix))
    {
        // The default prefix stands nowhere: point at the table of the subscriptions.
        let spot = prefix.or_else(|| root.any("mqtt").map(|at| at.spot));
        let spot = spot.unwrap_or_else(|| root.here().clone());
        cx.fault_bare(
            &spot,
            format!(
                "the subscription \"{topic}\" reads weir's own results below \"{}\"",
                results.prefix
            ),
            "set another [results] prefix, or narrow the topic",
        );
    }
    for (i, (forward, spot)) in forwards.iter().enumerate() {
        let here = &forward.login;
        if here.url == mqtt.login.url
            && let Some(topic) = topics().find(|topic| reads(topic, &forward.topic))
        {
            let what = format!("the subscription \"{topic}\" reads what this sends");
            cx.fault_bare(spot, what, "set another topic, or narrow the subscription");
        }
        let mut others = forwards[..i].iter().map(|(f, _)| &f.login).chain([&mqtt.login]);
        if others.any(|other| other.url == here.url && other.client_id == here.client_id) {
            cx.fault_bare(
                spot,
                format!("its client_id \"{}\" is used twice at {}", here.client_id, here.url),
                "give each a client_id of its own: a broker disconnects the older one",
            );
        }
    }
}

/// The levels of the subscription that a template makes: captures are `+` or end in `#`.
fn levels(template: &str) -> Vec<&str> {
    let template = match template.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').map_or("", |(_, topic)| topic),
        None => template,
    };
    let mut levels = Vec::new();
    for level in template.split('/') {
        if level.contains("+}") {
            levels.push("#");
            break;
        }
        levels.push(if level.contains('{') { "+" } else { level });
    }
    levels
}

fn reads(template: &str, topic: &str) -> bool {
    let levels = levels(template);
    let topic: Vec<&str> = topic.split('/').collect();
    for (i, level) in levels.iter().enumerate() {
        match (*level, topic.get(i)) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == *name => {}
            _ => return false,
        }
    }
    levels.len() == topic.len()
}

/// Whether it could match `<prefix>/status`, `<prefix>/alarm/input`,
/// `<prefix>/<device>/<metric>/<kind>` or `<prefix>/<device>/<metric>/alarm/<alarm>`, whatever
/// device, metric and alarm are called.
fn reads_results(template: &str, prefix: &str) -> bool {
    let levels = levels(template);
    let depth = prefix.split('/').count();
    // Put the subscription's own names where device and metric stand: those could be their names.
    let own = |i: usize| levels.get(depth + i).copied().filter(|l| *l != "#").unwrap_or("x");
    let alarm = format!("{prefix}/{}/{}/alarm/{}", own(0), own(1), own(3));
    reads(template, &format!("{prefix}/status"))
        || reads(template, &crate::publisher::input_topic(prefix))
        || reads(template, &alarm)
        || ResultKind::ALL
            .iter()
            .filter(|kind| **kind != ResultKind::Alarm)
            .any(|kind| reads(template, &format!("{prefix}/{}/{}/{}", own(0), own(1), kind.name())))
}
