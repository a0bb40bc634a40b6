//! Collects faults and warnings while the configuration is read.

use std::cell::RefCell;

use super::fault::Fault;
use super::tree::{Place, Sources};

/// Where faults and warnings are collected.
pub(super) struct Context<'a> {
    pub sources: &'a Sources,
    faults: RefCell<Vec<(Place, Fault)>>,
    warnings: RefCell<Vec<String>>,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub spot: Spot,
}

/// A place and what to call it: `[batch] interval`.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub place: Place,
    pub path: String,
}

impl<T> At<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), spot: self.spot }
    }
}

impl<'a> Context<'a> {
    pub fn new(sources: &'a Sources) -> Self {
        Context { sources, faults: RefCell::default(), warnings: RefCell::default() }
    }

    /// Reports a fault of a value, quoting it.
    pub fn fault(&self, spot: &Spot, what: impl Into<String>, mend: impl Into<String>) {
        let subject = format!("{} = {}", spot.path, self.sources.snippet(spot.place));
        self.push(spot.place, subject, what.into(), mend.into());
    }

    /// Reports a fault without quoting the value: of a table, a missing key, or a secret.
    pub fn fault_bare(&self, spot: &Spot, what: impl Into<String>, mend: impl Into<String>) {
        self.push(spot.place, spot.path.clone(), what.into(), mend.into());
    }

    fn push(&self, place: Place, subject: String, what: String, mend: String) {
        let (line, column) = self.sources.line_column(place);
        let file = self.sources.name(place).to_owned();
        let fault = Fault { file, line, column, subject, what, mend };
        self.faults.borrow_mut().push((place, fault));
    }

    /// A place in words, for faults that are found later: `weir.toml:3:12: [mqtt] key_file`.
    pub fn locate(&self, spot: &Spot) -> String {
        let (line, column) = self.sources.line_column(spot.place);
        format!("{}:{line}:{column}: {}", self.sources.name(spot.place), spot.path)
    }

    /// Reports something that works but is likely not meant, or costs something.
    pub fn warn(&self, text: String) {
        self.warnings.borrow_mut().push(text);
    }

    /// The same of a key, with its file, line and path before.
    pub fn warn_at(&self, spot: &Spot, what: &str) {
        let (line, _) = self.sources.line_column(spot.place);
        let (file, path) = (self.sources.short_name(spot.place), &spot.path);
        self.warn(format!("{file}:{line} {path} {what}"));
    }

    /// All faults by place, and the warnings in order of finding.
    pub fn finish(self) -> (Vec<Fault>, Vec<String>) {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(place, _)| *place);
        (faults.into_iter().map(|(_, fault)| fault).collect(), self.warnings.into_inner())
    }
}

/// The known name nearest to a misspelt one, if any is near.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let score = |k: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), k);
    known
        .iter()
        .map(|k| (score(k), *k))
        .filter(|(s, _)| *s >= 0.6)
        // First of the best: `max_by` would take the last.
        .fold(None, |best: Option<(f64, &str)>, (s, k)| match best {
            Some((b, _)) if b >= s => best,
            _ => Some((s, k)),
        })
        .map(|(_, k)| k)
}
