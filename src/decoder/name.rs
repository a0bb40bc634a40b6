//! Where a reading's device and metric names come from.

use std::borrow::Cow;

use super::pointer::Pointer;
use crate::receiver::topic::Captures;

/// Longest device or metric name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// The source of a name, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// In the payload.
    Payload(Pointer),
    /// A text with topic captures in it.
    Text(Vec<Piece>),
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Stands as it is.
    Literal(String),
    /// Replaced by the topic's capture of this name.
    Capture(String),
}

impl Name {
    /// Compiles `text`: a JSON pointer where it starts with `/`, else a text with `{capture}`s.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(text: &str) -> Result<Name, String> {
        if text.is_empty() {
            return Err("is empty; write e.g. \"{device}\" or \"/id\"".to_owned());
        }
        if text.starts_with('/') {
            return Ok(Name::Payload(Pointer::parse(text)?));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('{') {
            let (capture, behind) = behind.split_once('}').ok_or_else(|| {
                format!("{text:?}: `{{` without `}}`; a capture is written {{name}}")
            })?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            // `{name+}` in the topic is the same capture: take it as written there.
            let capture = capture.strip_suffix('+').unwrap_or(capture);
            pieces.push(Piece::Capture(capture.to_owned()));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Name::Text(pieces))
    }

    /// The captures it needs from the topic.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        let pieces = match self {
            Name::Payload(_) => &[],
            Name::Text(pieces) => pieces.as_slice(),
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Capture(name) => Some(name.as_str()),
            Piece::Literal(_) => None,
        })
    }

    /// The pointer into the payload, if it is one.
    pub fn pointer(&self) -> Option<&Pointer> {
        match self {
            Name::Payload(pointer) => Some(pointer),
            Name::Text(_) => None,
        }
    }

    /// The name as far as the topic gives it; a capture that the topic lacks is empty. Empty for a
    /// name in the payload. Allocates only where texts must be joined.
    pub fn resolve<'a>(&'a self, captures: &Captures<'a>) -> Cow<'a, str> {
        let pieces = match self {
            Name::Payload(_) => return Cow::Borrowed(""),
            Name::Text(pieces) => pieces.as_slice(),
        };
        let text = |piece: &'a Piece| match piece {
            Piece::Literal(text) => text.as_str(),
            Piece::Capture(name) => captures.get(name).unwrap_or(""),
        };
        match pieces {
            [piece] => Cow::Borrowed(text(piece)),
            pieces => Cow::Owned(pieces.iter().map(text).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::topic::Template;

    #[test]
    fn names() {
        let template = Template::parse("{site}/{device}/{rest+}").unwrap();
        let captures = template.capture("ber/b3/x/y").unwrap();
        let check = |text: &str, expect: &str| {
            assert_eq!(Name::parse(text).unwrap().resolve(&captures), expect, "{text}");
        };
        check("{device}", "b3");
        check("{site}-{device}", "ber-b3");
        check("fixed", "fixed");
        check("<{rest+}>", "<x/y>");
        check("{nobody}", "");
        check("/id", "");
    }

    #[test]
    fn faults() {
        assert!(Name::parse("").unwrap_err().contains("empty"));
        assert!(Name::parse("{a").unwrap_err().contains("without `}`"));
        assert!(Name::parse("/a~3").unwrap_err().contains("~0"));
    }

    #[test]
    fn a_lone_capture_is_borrowed() {
        let template = Template::parse("{device}").unwrap();
        let captures = template.capture("b3").unwrap();
        let name = Name::parse("{device}").unwrap();
        assert!(matches!(name.resolve(&captures), Cow::Borrowed("b3")));
    }
}
