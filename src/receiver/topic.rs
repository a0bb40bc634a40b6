//! Topic templates: which topics a subscription takes, and the names that stand in them.
//!
//! Pure. A template is an MQTT topic filter with named wildcards. In one level, `{name}` captures
//! text between literals (`line-{n}`); `{name+}`, alone in its level, captures one or several
//! levels; MQTT's `+` (one level) and `#` (last, any number of levels) match without a name.
//! `$share/group/` in front goes to the broker and plays no part in matching.
//!
//! Captured text is never empty. Where several readings of a level are possible, earlier captures
//! take as little as they can: `{a}-{b}` reads `x-y-z` as `x` and `y-z`.

use std::borrow::Cow;

/// Most captures in one template; more would be a mistake, and a fixed array needs no allocation.
pub const CAPTURES_MAX: usize = 8;

/// Longest topic or filter that MQTT can carry, in bytes.
const TOPIC_BYTES_MAX: usize = 65_535;

/// A parsed topic template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    share: Option<String>,
    /// Levels before the multi-level wildcard, or all of them where there is none.
    head: Vec<Level>,
    /// The one wildcard for several levels, with the levels behind it.
    many: Option<(Many, Vec<Level>)>,
    names: Vec<String>,
}

/// One level of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// `+`: anything, even nothing.
    Any,
    /// Literal text and captures, alternating: `prefix`, then for each capture the literal behind
    /// it (empty only behind the last one).
    Text { prefix: String, captures: Vec<(usize, String)> },
}

/// A wildcard for several levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Many {
    /// `#`: none or more levels.
    Hash,
    /// `{name+}`: one or more levels.
    Capture(usize),
}

/// The texts that a topic has in the places of a template's captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captures<'t> {
    names: &'t [String],
    texts: [&'t str; CAPTURES_MAX],
}

impl<'t> Captures<'t> {
    /// No captures: for receivers without topics.
    pub const NONE: Captures<'static> = Captures { names: &[], texts: [""; CAPTURES_MAX] };

    /// The text captured as `{name}` or `{name+}`.
    pub fn get(&self, name: &str) -> Option<&'t str> {
        self.iter().find(|&(known, _)| known == name).map(|(_, text)| text)
    }

    /// All (name, text) pairs in the template's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'t str, &'t str)> + use<'t> {
        self.names.iter().map(String::as_str).zip(self.texts)
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// A text that quotes the template and says what is wrong and how to mend it.
    pub fn parse(template: &str) -> Result<Template, String> {
        parse(template).map_err(|fault| format!("topic template {template:?}: {fault}"))
    }

    /// The MQTT subscription filter, the narrowest there is. It may take more than the template
    /// does (literals beside a capture, levels behind `{name+}`); [`capture`](Self::capture) then
    /// refuses the rest.
    pub fn filter(&self) -> String {
        let mut levels: Vec<&str> = Vec::new();
        levels.extend(self.share.as_deref());
        levels.extend(self.head.iter().map(Level::filter));
        if let Some((many, tail)) = &self.many {
            // `+/#` takes one level or more, since `#` also matches its parent. Each level behind
            // the wildcard asks for one more.
            if let Many::Capture(_) = many {
                levels.push("+");
            }
            levels.extend(tail.iter().map(|_| "+"));
            levels.push("#");
        }
        levels.join("/")
    }

    /// Names of the captures, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The captured texts, or `None` when the topic does not fit. Does not allocate.
    pub fn capture<'t>(&'t self, topic: &'t str) -> Option<Captures<'t>> {
        // MQTT 5, 4.7.2: a filter that begins with a wildcard takes no `$` topics.
        let literal_start = matches!(self.head.first(), Some(Level::Text { prefix, .. }) if prefix.starts_with('$'));
        if topic.starts_with('$') && !literal_start {
            return None;
        }
        let mut captures = Captures { names: &self.names, texts: [""; CAPTURES_MAX] };
        let mut rest = Some(topic);
        for level in &self.head {
            let (text, behind) = split_first(rest?);
            level.capture(text, &mut captures.texts)?;
            rest = behind;
        }
        match &self.many {
            None => rest.is_none().then_some(captures),
            Some((many, tail)) => {
                for level in tail.iter().rev() {
                    let (before, text) = split_last(rest?);
                    level.capture(text, &mut captures.texts)?;
                    rest = before;
                }
                if let Many::Capture(index) = *many {
                    captures.texts[index] = rest.filter(|text| !text.is_empty())?;
                }
                Some(captures)
            }
        }
    }
}

impl Level {
    fn filter(&self) -> &str {
        match self {
            Level::Text { prefix, captures } if captures.is_empty() => prefix,
            _ => "+",
        }
    }

    fn capture<'t>(&self, text: &'t str, texts: &mut [&'t str; CAPTURES_MAX]) -> Option<()> {
        let Level::Text { prefix, captures } = self else {
            return Some(());
        };
        let mut rest = text.strip_prefix(prefix.as_str())?;
        let Some(((last, suffix), others)) = captures.split_last() else {
            return rest.is_empty().then_some(());
        };
        for (index, literal) in others {
            // Not at 0: a capture holds at least one character. The earliest place leaves most for
            // the captures to come, so if it does not fit, no later one would.
            let first = rest.chars().next()?.len_utf8();
            let at = first + rest[first..].find(literal.as_str())?;
            texts[*index] = &rest[..at];
            rest = &rest[at + literal.len()..];
        }
        texts[*last] = rest.strip_suffix(suffix.as_str()).filter(|text| !text.is_empty())?;
        Some(())
    }
}

fn split_first(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (text, None),
    }
}

fn split_last(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('/') {
        Some((rest, level)) => (Some(rest), level),
        None => (None, text),
    }
}

fn parse(template: &str) -> Result<Template, String> {
    if template.len() > TOPIC_BYTES_MAX {
        return Err(format!("longer than MQTT's {TOPIC_BYTES_MAX} bytes"));
    }
    if template.contains('\0') {
        return Err("a NUL character cannot stand in a topic".to_owned());
    }
    let (share, levels) = match template.strip_prefix("$share/") {
        None => (None, template),
        Some(shared) => {
            let (group, levels) = shared.split_once('/').unwrap_or((shared, ""));
            if group.is_empty() || group.contains(['+', '#', '{', '}']) {
                return Err(
                    "a shared subscription is written $share/GROUP/topic, GROUP plain text"
                        .to_owned(),
                );
            }
            (Some(format!("$share/{group}")), levels)
        }
    };
    if levels.is_empty() {
        return Err("is empty; write e.g. \"sensors/{device}/{metric}\"".to_owned());
    }
    let mut parsed = Template { share, head: Vec::new(), many: None, names: Vec::new() };
    let mut levels = levels.split('/').peekable();
    while let Some(text) = levels.next() {
        let many = if text == "#" {
            if levels.peek().is_some() {
                return Err("`#` must be the last level; in the middle write {name+}".to_owned());
            }
            Some(Many::Hash)
        } else if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix("+}")) {
            Some(Many::Capture(add_name(&mut parsed.names, name)?))
        } else {
            None
        };
        match (many, &mut parsed.many) {
            (Some(_), Some(_)) => {
                return Err(
                    "has two wildcards for several levels; only one can be told apart".to_owned()
                );
            }
            (Some(many), None) => parsed.many = Some((many, Vec::new())),
            (None, _) => {
                let level = parse_level(text, &mut parsed.names)?;
                match &mut parsed.many {
                    Some((_, tail)) => tail.push(level),
                    None => parsed.head.push(level),
                }
            }
        }
    }
    Ok(parsed)
}

fn parse_level(text: &str, names: &mut Vec<String>) -> Result<Level, String> {
    if text == "+" {
        return Ok(Level::Any);
    }
    let mut pieces = text.split('{');
    let prefix = literal(pieces.next().unwrap_or(""))?;
    let mut captures: Vec<(usize, String)> = Vec::new();
    for piece in pieces {
        let (name, behind) =
            piece.split_once('}').ok_or("`{` without `}`; a capture is written {name}")?;
        if name.ends_with('+') {
            return Err(format!("{{{name}}} must stand alone in its level"));
        }
        if captures.last().is_some_and(|(_, literal)| literal.is_empty()) {
            return Err(format!("nothing separates {{{name}}} from the capture before it"));
        }
        let index = add_name(names, name)?;
        captures.push((index, literal(behind)?));
    }
    Ok(Level::Text { prefix, captures })
}

fn literal(text: &str) -> Result<String, String> {
    match text.find(['+', '#', '}']) {
        Some(at) if text[at..].starts_with('}') => {
            Err("`}` without `{`; a capture is written {name}".to_owned())
        }
        Some(_) => Err("`+` and `#` must stand alone in their level".to_owned()),
        None => Ok(text.to_owned()),
    }
}

fn add_name(names: &mut Vec<String>, name: &str) -> Result<usize, String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    {
        return Err(format!("{{{name}}}: a capture's name is letters, digits, `_` and `-`"));
    }
    if names.iter().any(|known| known == name) {
        return Err(format!("{{{name}}} stands twice; give each capture its own name"));
    }
    if names.len() == CAPTURES_MAX {
        return Err(format!("more than {CAPTURES_MAX} captures; use + for levels without a name"));
    }
    names.push(name.to_owned());
    Ok(names.len() - 1)
}

/// Percent-encodes what a name must not carry into one topic level: `%`, `+`, `#`, `/` and control
/// characters (NUL among them), byte by byte in UTF-8. Borrows where nothing needs it.
pub fn encode_level(name: &str) -> Cow<'_, str> {
    let reserved = |c: char| matches!(c, '%' | '+' | '#' | '/') || c.is_control();
    if !name.contains(reserved) {
        return Cow::Borrowed(name);
    }
    let mut encoded = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        if reserved(c) {
            for &byte in c.encode_utf8(&mut [0; 4]).as_bytes() {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                encoded.push('%');
                encoded.push(char::from(HEX[usize::from(byte >> 4)]));
                encoded.push(char::from(HEX[usize::from(byte & 15)]));
            }
        } else {
            encoded.push(c);
        }
    }
    Cow::Owned(encoded)
}

/// The inverse of [`encode_level`]; also takes other percent-encoded characters. `None` when a `%`
/// is not followed by two hexadecimal digits, or the result is not UTF-8.
pub fn decode_level(level: &str) -> Option<Cow<'_, str>> {
    if !level.contains('%') {
        return Some(Cow::Borrowed(level));
    }
    let mut decoded = Vec::with_capacity(level.len());
    let mut rest = level.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (&[high, low], behind) = rest.split_first_chunk()?;
        let digit = |hex: u8| char::from(hex).to_digit(16);
        decoded.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        rest = behind;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
