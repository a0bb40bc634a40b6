//! Globs over device and metric names: `*` stands for any run of characters (also none, also
//! `/`), `?` for exactly one. Nothing else is special and nothing can be escaped: names that
//! contain the two are matched by `?`.

/// Whether the whole of `text` matches `pattern`.
///
/// Only the latest `*` is ever retried (an earlier one can never help), so the time is at most
/// |pattern|·|text| steps, and |pattern| + |text| for patterns with a single `*`.
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    walk(pattern, text, |p, t| p == '?' || p == t)
}

/// Whether every text that matches `narrow` also matches `wide`. Sound, and complete but for odd
/// pairs such as `?*` and `*?`.
pub fn glob_covers(wide: &str, narrow: &str) -> bool {
    // The narrow pattern is read as a text in which `*` is a run of unknown length: only a `*` of
    // the wide one may swallow that.
    walk(wide, narrow, |p, n| if p == '?' { n != '*' } else { p == n && n != '*' })
}

/// Whether some text matches both patterns; |a|·|b| steps.
pub fn glob_meets(a: &str, b: &str) -> bool {
    let b: Vec<char> = b.chars().collect();
    // row[j]: whether what was read of `a` and the first j characters of `b` can meet.
    let mut row = vec![false; b.len() + 1];
    row[0] = true;
    for j in 0..b.len() {
        row[j + 1] = row[j] && b[j] == '*';
    }
    for p in a.chars() {
        let mut next = vec![false; b.len() + 1];
        next[0] = row[0] && p == '*';
        for (j, &q) in b.iter().enumerate() {
            next[j + 1] = if p == '*' || q == '*' {
                // A star takes one more of the other side, or nothing.
                row[j + 1] || next[j]
            } else {
                row[j] && (p == q || p == '?' || q == '?')
            };
        }
        row = next;
    }
    row[b.len()]
}

fn walk(pattern: &str, text: &str, one: impl Fn(char, char) -> bool) -> bool {
    let (mut p, mut t) = (pattern, text);
    let mut retry: Option<(&str, &str)> = None;
    while let Some(c) = t.chars().next() {
        let head = p.chars().next();
        if head == Some('*') {
            p = &p[1..];
            retry = Some((p, t));
        } else if head.is_some_and(|h| one(h, c)) {
            p = rest(p);
            t = rest(t);
        } else if let Some((after, from)) = retry {
            let next = rest(from);
            retry = Some((after, next));
            p = after;
            t = next;
        } else {
            return false;
        }
    }
    p.chars().all(|c| c == '*')
}

fn rest(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples() {
        let check = |pattern, text, expected| {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} against {text}");
        };
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("temp*", "temperature", true);
        check("*/temp", "hall/2/temp", true);
        check("a*b*c", "aXbYbZc", true);
        check("a*b*c", "aXbYbZ", false);
        check("pump-?", "pump-3", true);
        check("pump-?", "pump-33", false);
        check("?", "é", true);
        check("*é?", "ééx", true);
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(128);
        assert!(!glob_matches(&pattern, &"a".repeat(127)));
        assert!(glob_matches(&pattern, &"a".repeat(128)));
    }

    /// The definition, written out; exponential, for short texts only.
    fn defined(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', p)), None) => defined(p, text),
            (Some(('*', p)), Some((_, t))) => defined(p, text) || defined(pattern, t),
            (Some(('?', p)), Some((_, t))) => defined(p, t),
            (Some((c, p)), Some((d, t))) => c == d && defined(p, t),
            _ => false,
        }
    }

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    proptest! {
        #[test]
        fn matches_its_definition(pattern in "[aé*?]{0,7}", text in "[aé]{0,7}") {
            prop_assert_eq!(glob_matches(&pattern, &text), defined(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn patterns_of_one_text_meet(a in "[ab*?]{0,5}", b in "[ab*?]{0,5}", text in "[ab]{0,5}") {
            if glob_matches(&a, &text) && glob_matches(&b, &text) {
                prop_assert!(glob_meets(&a, &b), "{} and {} by {}", a, b, text);
            }
        }

        #[test]
        fn patterns_that_meet_have_a_text(a in "[ab*?]{0,3}", b in "[ab*?]{0,3}") {
            // Of patterns this short, a common text is no longer than both together.
            let mut texts = vec![String::new()];
            for at in 0.. {
                let Some(text) = texts.get(at).cloned() else { break };
                if text.len() < 6 {
                    texts.extend([format!("{text}a"), format!("{text}b")]);
                }
            }
            let found = texts.iter().any(|text| glob_matches(&a, text) && glob_matches(&b, text));
            prop_assert_eq!(glob_meets(&a, &b), found);
        }

        #[test]
        fn what_covers_matches_all_that_the_covered_matches(
            wide in "[ab*?]{0,4}", narrow in "[ab*?]{0,4}", text in "[ab]{0,5}"
        ) {
            if glob_covers(&wide, &narrow) && glob_matches(&narrow, &text) {
                prop_assert!(glob_matches(&wide, &text));
            }
        }
    }
}
