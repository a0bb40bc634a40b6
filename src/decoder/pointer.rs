//! JSON pointers (RFC 6901), for JSON and CBOR alike.

/// Deepest pointer taken; bounds the recursion along it.
pub const DEPTH_MAX: usize = 32;

/// A parsed JSON pointer: the way from a record to one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// As written, for messages.
    pub text: String,
    /// The unescaped steps; none for the whole record.
    pub tokens: Vec<String>,
}

impl Pointer {
    /// Parses `""` or `/step/step…` with `~0` for `~` and `~1` for `/`.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(text: &str) -> Result<Pointer, String> {
        let mut tokens = Vec::new();
        if !text.is_empty() {
            let steps = text.strip_prefix('/').ok_or_else(|| {
                format!("{text:?}: a JSON pointer starts with `/`; write e.g. \"/{text}\"")
            })?;
            for step in steps.split('/') {
                tokens.push(unescape(step).ok_or_else(|| {
                    format!(
                        "{text:?}: in a JSON pointer write `~` as `~0` and `/` in a name as `~1`"
                    )
                })?);
            }
        }
        if tokens.len() > DEPTH_MAX {
            return Err(format!("{text:?}: deeper than {DEPTH_MAX} levels"));
        }
        Ok(Pointer { text: text.to_owned(), tokens })
    }
}

fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut token = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (tilde, rest) = match part.as_bytes().first()? {
            b'0' => ('~', &part[1..]),
            b'1' => ('/', &part[1..]),
            _ => return None,
        };
        token.push(tilde);
        token.push_str(rest);
    }
    Some(token)
}

/// The array index a step stands for: decimal digits without a leading zero (RFC 6901, section 4).
pub fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    if canonical && digits { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers() {
        let check = |text: &str, tokens: &[&str]| {
            assert_eq!(Pointer::parse(text).unwrap().tokens, tokens, "{text}");
        };
        check("", &[]);
        check("/", &[""]);
        check("/a/b", &["a", "b"]);
        check("/a~1b/m~0n/~01", &["a/b", "m~n", "~1"]);
        check("/0/ ", &["0", " "]);
    }

    #[test]
    fn faults() {
        let check = |text: &str, part: &str| {
            let fault = Pointer::parse(text).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        };
        check("value", "\"/value\"");
        check("/a~2", "~0");
        check("/a~", "~0");
        check(&"/a".repeat(33), "deeper than 32");
    }

    #[test]
    fn indexes() {
        assert_eq!(index("0"), Some(0));
        assert_eq!(index("10"), Some(10));
        for text in ["", "01", "-1", "+1", "1.0", "a", "99999999999999999999999"] {
            assert_eq!(index(text), None, "{text}");
        }
    }
}
