//! Facts, who states them, and where two of them differ.
//!
//! A fact is named for a person: `disk0 group 1: state`. Each source states a value for the facts
//! that it knows. Two sources that state different values disagree; a fact that some peer states
//! and `alua list` does not is a disagreement too, or silence would pass every check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The name of the source that has to state every fact.
pub const SUBJECT: &str = "alua list";

/// One source's word on one fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement {
    /// The fact.
    pub fact: String,
    /// Who states it, and through which device: `sg_rtpg sda`.
    pub source: String,
    /// What it is said to be.
    pub value: String,
}

/// Collects what one source states.
#[derive(Clone, Debug)]
pub struct Statements {
    source: String,
    all: Vec<Statement>,
}

impl Statements {
    /// Nothing yet.
    #[must_use]
    pub fn by(source: impl Into<String>) -> Self {
        Self { source: source.into(), all: Vec::new() }
    }

    /// States a fact.
    pub fn state(&mut self, subject: &str, property: &str, value: impl fmt::Display) {
        let fact = format!("{subject}: {property}");
        self.all.push(Statement { fact, source: self.source.clone(), value: value.to_string() });
    }

    /// States a fact if there is a value.
    pub fn state_some<T: fmt::Display>(&mut self, subject: &str, property: &str, value: Option<T>) {
        if let Some(value) = value {
            self.state(subject, property, value);
        }
    }

    /// What was stated.
    #[must_use]
    pub fn into_vec(self) -> Vec<Statement> {
        self.all
    }
}

/// How a group is called in facts.
#[must_use]
pub fn group(unit: &str, id: impl fmt::Display) -> String {
    format!("{unit} group {id}")
}

/// How a path is called in facts.
#[must_use]
pub fn path(unit: &str, port: impl fmt::Display) -> String {
    format!("{unit} port {port}")
}

/// A fact on which the sources do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The fact.
    pub fact: String,
    /// Each value with those who state it; `nothing` for a source that should have stated one.
    pub said: BTreeMap<String, Vec<String>>,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fact)?;
        for (index, (value, sources)) in self.said.iter().enumerate() {
            let verb = if sources.len() == 1 { "says" } else { "say" };
            let separator = if index == 0 { " - " } else { "; " };
            write!(f, "{separator}{} {verb} {value}", sources.join(", "))?;
        }
        Ok(())
    }
}

/// What a comparison came to.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// How many facts [`SUBJECT`] and somebody else state alike.
    pub agreed: usize,
    /// Where they differ.
    pub disagreements: Vec<Disagreement>,
}

/// Holds all that was said against each other; where [`SUBJECT`] gave no answer at all, what the
/// peers say among themselves.
#[must_use]
pub fn compare(statements: &[Statement]) -> Comparison {
    let answered = statements.iter().any(|one| one.source == SUBJECT);
    let mut facts: BTreeMap<&str, Vec<&Statement>> = BTreeMap::new();
    for statement in statements {
        facts.entry(&statement.fact).or_default().push(statement);
    }
    let mut comparison = Comparison { agreed: 0, disagreements: Vec::new() };
    for (fact, said) in facts {
        let values: BTreeSet<&str> = said.iter().map(|one| one.value.as_str()).collect();
        let by_subject = said.iter().any(|one| one.source == SUBJECT);
        if values.len() == 1 && (by_subject || !answered) {
            comparison.agreed += usize::from(by_subject && said.len() > 1);
            continue;
        }
        let mut by_value: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in said {
            by_value.entry(one.value.clone()).or_default().push(one.source.clone());
        }
        if !by_subject && answered {
            by_value.entry("nothing".to_owned()).or_default().push(SUBJECT.to_owned());
        }
        comparison.disagreements.push(Disagreement { fact: fact.to_owned(), said: by_value });
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(source: &str, value: &str) -> Statement {
        Statement {
            fact: "disk0 group 1: state".to_owned(),
            source: source.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn the_same_word_from_two_sources_is_agreement() {
        let comparison = compare(&[said("configfs", "standby"), said(SUBJECT, "standby")]);
        assert_eq!((comparison.agreed, comparison.disagreements.len()), (1, 0));
    }

    #[test]
    fn one_source_alone_agrees_with_nobody() {
        assert_eq!(compare(&[said(SUBJECT, "standby")]).agreed, 0);
    }

    #[test]
    fn a_different_word_is_a_disagreement_that_names_both() {
        let comparison = compare(&[
            said("configfs", "standby"),
            said("sg_rtpg sda", "standby"),
            said(SUBJECT, "unavailable"),
        ]);
        assert_eq!(
            comparison.disagreements[0].to_string(),
            "disk0 group 1: state - configfs, sg_rtpg sda say standby; alua list says unavailable"
        );
    }

    #[test]
    fn silence_is_a_disagreement() {
        let other = Statement { fact: "disk0: name".to_owned(), ..said(SUBJECT, "naa.6") };
        let comparison = compare(&[said("configfs", "standby"), other]);
        assert_eq!(
            comparison.disagreements[0].to_string(),
            "disk0 group 1: state - alua list says nothing; configfs says standby"
        );
    }

    #[test]
    fn without_an_answer_the_peers_are_held_against_each_other() {
        let (one, two) = (said("configfs", "standby"), said("sysfs sda", "standby"));
        let comparison = compare(&[one.clone(), two]);
        assert_eq!((comparison.agreed, comparison.disagreements.len()), (0, 0));
        assert_eq!(compare(&[one, said("sysfs sda", "offline")]).disagreements.len(), 1);
    }

    #[test]
    fn peers_that_differ_from_each_other_are_shown_too() {
        let comparison =
            compare(&[said("sysfs sda", "a"), said(SUBJECT, "b"), said("configfs", "b")]);
        assert_eq!(comparison.disagreements.len(), 1);
    }
}
