//! What is wrong with a configuration: every fault with its place and its mend.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1; 0 when the fault concerns the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 as for `line`.
    pub column: usize,
    /// Table, key and value: `[batch] interval = "2"`; empty for faults of the file.
    pub subject: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.subject.is_empty() {
            write!(f, " {}:", self.subject)?;
        }
        write!(f, " {}", self.what)?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}

/// All faults of a configuration, in the order of files and lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// One fault that concerns a file as a whole.
    pub(super) fn of_file(file: &str, what: String, mend: &str) -> Fault {
        Fault {
            file: file.to_owned(),
            line: 0,
            column: 0,
            subject: String::new(),
            what,
            mend: mend.to_owned(),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 fault in the configuration"),
            n => write!(f, "{n} faults in the configuration"),
        }
    }
}

impl std::error::Error for Faults {}
