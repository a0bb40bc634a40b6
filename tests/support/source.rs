//! Rust source as text with comments, literals and test code told apart, line by line.

/// One file.
pub struct Source {
    /// Relative to the root of the repository.
    pub path: String,
    /// The `//!` comments at its top, joined by blanks.
    pub module_docs: String,
    raw: Vec<String>,
    /// Code without comments and without what stands inside literals.
    code: Vec<String>,
    /// The comment on the line, and those directly above it.
    comments: Vec<String>,
    /// Inside an item under `#[cfg(test)]`.
    test: Vec<bool>,
}

/// One line of it.
pub struct Line<'a> {
    /// From 1.
    pub number: usize,
    pub raw: &'a str,
    pub code: &'a str,
    pub comment: &'a str,
}

impl Source {
    pub fn new(path: String, text: &str) -> Source {
        let (code, own) = split(text);
        let mut comments: Vec<String> = Vec::with_capacity(own.len());
        for (index, comment) in own.iter().enumerate() {
            let above = index.checked_sub(1).filter(|&above| {
                let code = code[above].trim();
                code.is_empty() && !own[above].is_empty() || code.starts_with("#[")
            });
            comments.push(above.map_or(String::new(), |i| comments[i].clone() + " ") + comment);
        }
        let raw: Vec<_> = text.split('\n').map(str::to_owned).collect();
        let docs = raw.iter().take_while(|line| line.starts_with("//!"));
        let module_docs = docs.map(|line| line[3..].trim()).collect::<Vec<_>>().join(" ");
        let test = test_lines(&code);
        Source { path, module_docs, raw, code, comments, test }
    }

    /// The lines of the program proper.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.all_lines().filter(|line| !self.test[line.number - 1])
    }

    /// Test code as well.
    pub fn all_lines(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.code.len()).map(|index| Line {
            number: index + 1,
            raw: &self.raw[index],
            code: &self.code[index],
            comment: &self.comments[index],
        })
    }

    /// Names of fields, parameters and variables declared with one of these types.
    pub fn hashed_names(&self, kinds: &[&str]) -> Vec<String> {
        let mut names = Vec::new();
        for line in self.lines() {
            for (at, _) in kinds.iter().flat_map(|kind| line.code.match_indices(kind)) {
                let before = &line.code[..at];
                let declared = before.rsplit_once([':', '=']).map(|(left, _)| left);
                let left = declared.unwrap_or("").trim_end_matches([':', ' ']);
                let left = left.rsplit([' ', '(', '{', ',']).next().unwrap_or("");
                if !left.is_empty() && left.chars().all(is_word) {
                    names.push(left.to_owned());
                }
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// True if `word` stands in `code` and is not part of a longer name.
pub fn contains_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let open = |edge: Option<char>, side: Option<char>| {
            !edge.is_some_and(is_word) || !side.is_some_and(is_word)
        };
        open(word.chars().next(), before) && open(word.chars().next_back(), after)
    })
}

/// True if that is the first word on the line (visibility aside).
pub fn starts_word(code: &str, word: &str) -> bool {
    let code = code.trim_start().trim_start_matches("pub ");
    code.strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_word))
}

/// Code and comments of each line. Literals become empty ones; line breaks stay.
fn split(text: &str) -> (Vec<String>, Vec<String>) {
    let characters: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (vec![String::new()], vec![String::new()]);
    let at = |index: usize| characters.get(index).copied().unwrap_or('\n');
    // Appends to the last line of one of both, which grow together.
    let put = |character: char, comment: bool, code: &mut Vec<_>, comments: &mut Vec<_>| {
        if character == '\n' {
            code.push(String::new());
            comments.push(String::new());
        } else {
            let lines: &mut Vec<String> = if comment { comments } else { code };
            lines.last_mut().expect("there is a line").push(character);
        }
    };
    let mut index = 0;
    while index < characters.len() {
        let character = characters[index];
        let after_word = index > 0 && is_word(characters[index - 1]);
        // How many characters this piece has, and whether it is comment, literal or code.
        let hashes = (0..).take_while(|&n| at(index + 1 + n) == '#').count();
        let length = if character == '/' && at(index + 1) == '/' {
            (0..).take_while(|&n| at(index + n) != '\n').count()
        } else if character == '/' && at(index + 1) == '*' {
            block_comment(&characters[index..])
        } else if character == 'r' && !after_word && at(index + 1 + hashes) == '"' {
            raw_string(&characters[index..], hashes)
        } else if character == '"'
            || character == '\'' && (at(index + 1) == '\\' || at(index + 2) == '\'')
        {
            quoted(&characters[index..])
        } else {
            put(character, false, &mut code, &mut comments);
            index += 1;
            continue;
        };
        let comment = character == '/';
        if !comment {
            put('"', false, &mut code, &mut comments);
        }
        for offset in 0..length {
            let inside = at(index + offset);
            if comment || inside == '\n' {
                put(inside, true, &mut code, &mut comments);
            }
        }
        if !comment {
            put('"', false, &mut code, &mut comments);
        }
        index += length;
    }
    (code, comments)
}

/// Length of the block comment that starts here; they nest.
fn block_comment(text: &[char]) -> usize {
    let (mut depth, mut index) = (0, 0);
    while index < text.len() {
        match text[index..] {
            ['/', '*', ..] => (depth, index) = (depth + 1, index + 2),
            ['*', '/', ..] => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
        if depth == 0 {
            break;
        }
    }
    index
}

/// Length of the raw string that starts here, with so many hashes.
fn raw_string(text: &[char], hashes: usize) -> usize {
    let start = hashes + 2;
    let ends = |&index: &usize| {
        text[index] == '"'
            && text[index + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    (start..text.len()).find(ends).map_or(text.len(), |end| end + 1 + hashes)
}

/// Length of the literal that starts here, up to the same mark without a backslash before it.
fn quoted(text: &[char]) -> usize {
    let mut index = 1;
    while index < text.len() && text[index] != text[0] {
        index += if text[index] == '\\' { 2 } else { 1 };
    }
    (index + 1).min(text.len())
}

/// Which lines belong to items under `#[cfg(test)]`: from the attribute to the item's end, which is
/// its closing brace or, outside of all brackets, a semicolon.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut test = vec![false; code.len()];
    let mut line = 0;
    while line < code.len() {
        let text = code[line].trim_start();
        if !text.starts_with("#[cfg(test)]") && !text.starts_with("#[cfg(all(test") {
            line += 1;
            continue;
        }
        let mut depth = 0_i32;
        'item: for (index, text) in code.iter().enumerate().skip(line) {
            test[index] = true;
            line = index + 1;
            for character in text.chars() {
                depth += match character {
                    '{' | '(' | '[' => 1,
                    '}' | ')' | ']' => -1,
                    _ => 0,
                };
                if depth == 0 && matches!(character, '}' | ';') {
                    break 'item;
                }
            }
        }
    }
    test
}
