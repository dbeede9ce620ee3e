//! Patterns of AS paths, matched over AS numbers and not over their digits.
//!
//! | written | stands for |
//! |---|---|
//! | `65001` | that AS |
//! | `64512-65534` | one AS of a range |
//! | `[65001 65010-65019]` | one AS of several; `[^65001]`: one that is none of them |
//! | `.` | any one AS; so does `[0-9]+` |
//! | `a b`, `a_b` | one after the other: `_` and blanks stand between AS numbers |
//! | `a\|b`, `( )` | one or the other; a group |
//! | `?`, `*`, `+`, `{2}`, `{2,}`, `{2,4}` | how often what stands before it comes |
//! | `^`, `$` | the neighbour's end of the path; the originator's end |
//!
//! Without `^` and `$` a pattern may match anywhere in the path: `_65001_` is a path through AS
//! 65001, `_65001$` one from it, `^65001_` one by that neighbour, `^$` the empty path of what
//! originates inside the AS. An AS_SET stands for one AS, and for whichever of its members fits.
//!
//! A pattern becomes a small machine whose states are tried all at once, so a path of `n` AS
//! numbers costs `n` times the size of the pattern at most, whatever the two look like.

use crate::{BadWord, decimal};
use std::fmt;
use std::str::FromStr;

mod parse;

/// A machine has no more steps than this.
const MAX_STEPS: usize = 256;

#[derive(Debug, Clone)]
pub struct AsPathPattern {
    text: String,
    steps: Vec<Step>,
}

/// Patterns are what is written, not what it means.
impl PartialEq for AsPathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AsPathPattern {}

impl fmt::Display for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which AS numbers may stand in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    ranges: Vec<(u32, u32)>,
    /// All but these.
    negated: bool,
}

impl Class {
    /// One element of a path: an AS, or the members of an AS_SET.
    fn has(&self, mut members: impl Iterator<Item = u32>) -> bool {
        let listed = |asn: u32| self.ranges.iter().any(|(a, b)| (*a..=*b).contains(&asn));
        if self.negated { !members.any(listed) } else { members.any(listed) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Takes one element.
    One(Class),
    Either(usize, usize),
    Jump(usize),
    Start,
    End,
    Done,
}

impl AsPathPattern {
    /// `path`: from the neighbour to the originator; each element an AS, or the members of an
    /// AS_SET.
    #[must_use]
    pub fn matches<P>(&self, path: P) -> bool
    where
        P: IntoIterator,
        P::Item: IntoIterator<Item = u32> + Clone,
    {
        let mut path = path.into_iter().peekable();
        let mut at_start = true;
        let mut states = States::default();
        loop {
            // It may begin here, wherever here is.
            let here = Here { at_start, at_end: path.peek().is_none() };
            if self.enter(0, here, &mut states) {
                return true;
            }
            let Some(element) = path.next() else { return false };
            let next_is_end = path.peek().is_none();
            let after = Here { at_start: false, at_end: next_is_end };
            let mut next = States::default();
            for (at, step) in self.steps.iter().enumerate() {
                if let Step::One(class) = step
                    && states.has(at)
                    && class.has(element.clone().into_iter())
                    && self.enter(at + 1, after, &mut next)
                {
                    return true;
                }
            }
            states = next;
            at_start = false;
        }
    }

    /// Adds a state and all that is reached from it without taking an element; true: the end is.
    fn enter(&self, at: usize, here: Here, states: &mut States) -> bool {
        if !states.add(at) {
            return false;
        }
        match self.steps.get(at) {
            Some(Step::Either(a, b)) => {
                self.enter(*a, here, states) || self.enter(*b, here, states)
            }
            Some(Step::Jump(to)) => self.enter(*to, here, states),
            Some(Step::Start) => here.at_start && self.enter(at + 1, here, states),
            Some(Step::End) => here.at_end && self.enter(at + 1, here, states),
            Some(Step::One(_)) => false,
            Some(Step::Done) | None => true,
        }
    }
}

#[derive(Clone, Copy)]
struct Here {
    at_start: bool,
    at_end: bool,
}

/// A set of steps.
#[derive(Default)]
struct States([u128; MAX_STEPS / 128]);

impl States {
    /// Whether it was not there yet.
    fn add(&mut self, at: usize) -> bool {
        let is_new = !self.has(at);
        if let Some(word) = self.0.get_mut(at / 128) {
            *word |= 1 << (at % 128);
        }
        is_new
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at / 128).is_some_and(|word| word & 1 << (at % 128) != 0)
    }
}

impl FromStr for AsPathPattern {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let node = parse::read(text)?;
        let mut steps = Vec::new();
        emit(&node, &mut steps)?;
        push(Step::Done, &mut steps)?;
        Ok(Self { text: text.into(), steps })
    }
}

/// What a pattern says, as a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Start,
    End,
    One(Class),
    All(Vec<Self>),
    Any(Vec<Self>),
    /// `None`: any number of times.
    Times(Box<Self>, u32, Option<u32>),
}

fn push(step: Step, steps: &mut Vec<Step>) -> Result<usize, BadWord> {
    if steps.len() >= MAX_STEPS {
        return Err(BadWord::new(format!("is too long: it takes more than {MAX_STEPS} steps")));
    }
    steps.push(step);
    Ok(steps.len() - 1)
}

fn set(at: usize, step: Step, steps: &mut [Step]) {
    if let Some(place) = steps.get_mut(at) {
        *place = step;
    }
}

fn emit(node: &Node, steps: &mut Vec<Step>) -> Result<(), BadWord> {
    match node {
        Node::Start => push(Step::Start, steps).map(drop),
        Node::End => push(Step::End, steps).map(drop),
        Node::One(class) => push(Step::One(class.clone()), steps).map(drop),
        Node::All(nodes) => nodes.iter().try_for_each(|node| emit(node, steps)),
        Node::Any(nodes) => emit_any(nodes, steps),
        Node::Times(node, least, most) => {
            for _ in 0..*least {
                emit(node, steps)?;
            }
            match most {
                None => emit_star(node, steps),
                Some(most) => (*least..*most).try_for_each(|_| emit_optional(node, steps)),
            }
        }
    }
}

fn emit_any(nodes: &[Node], steps: &mut Vec<Step>) -> Result<(), BadWord> {
    let Some((last, before)) = nodes.split_last() else { return Ok(()) };
    let mut ends = Vec::new();
    for node in before {
        let choice = push(Step::Done, steps)?;
        emit(node, steps)?;
        ends.push(push(Step::Done, steps)?);
        set(choice, Step::Either(choice + 1, steps.len()), steps);
    }
    emit(last, steps)?;
    let end = steps.len();
    ends.into_iter().for_each(|at| set(at, Step::Jump(end), steps));
    Ok(())
}

fn emit_star(node: &Node, steps: &mut Vec<Step>) -> Result<(), BadWord> {
    let choice = push(Step::Done, steps)?;
    emit(node, steps)?;
    push(Step::Jump(choice), steps)?;
    set(choice, Step::Either(choice + 1, steps.len()), steps);
    Ok(())
}

fn emit_optional(node: &Node, steps: &mut Vec<Step>) -> Result<(), BadWord> {
    let choice = push(Step::Done, steps)?;
    emit(node, steps)?;
    set(choice, Step::Either(choice + 1, steps.len()), steps);
    Ok(())
}

#[cfg(test)]
mod tests;
