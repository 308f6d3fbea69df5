//! The lexicon: phrases and the concepts that they stand for.

use std::sync::OnceLock;

use super::hash::QuickMap;
use super::text::{Token, phrase};

const TEXT: &str = include_str!("../../data/lexicon.txt");

/// A concept, by its place in [`Lexicon::concepts`].
pub type Concept = u16;

/// A phrase that stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What it stands for.
    pub concept: Concept,
    /// Its first token.
    pub first: usize,
    /// Its last token.
    pub last: usize,
}

/// The phrases that begin at one of the tokens `from..to`. Phrases are in the order of the text, so this is a search and
/// not a walk: what is asked once per token must not cost the whole text.
pub fn beginning(hits: &[Hit], from: usize, to: usize) -> &[Hit] {
    let start = hits.partition_point(|hit| hit.first < from);
    let end = hits.partition_point(|hit| hit.first < to);
    hits.get(start..end.max(start)).unwrap_or_default()
}

/// Longest phrase, in tokens; none of the lexicon or of a sensible engine file is longer.
pub const LONGEST: usize = 12;

/// Phrases by their first and their second stem, so that few are tried at a word, however many there are.
pub struct Lexicon {
    concepts: Vec<&'static str>,
    phrases: QuickMap<String, QuickMap<String, Vec<Phrase>>>,
}

/// The stems after the first, and what the phrase stands for.
type Phrase = (Vec<String>, Concept);

/// In place of the second stem of a phrase that has only one.
const ALONE: &str = "";

impl Lexicon {
    /// The one that comes with the program.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Lexicon> = OnceLock::new();
        BUILTIN.get_or_init(|| Self::parse(TEXT))
    }

    /// The name of a concept.
    pub fn name(&self, concept: Concept) -> &'static str {
        self.concepts.get(usize::from(concept)).copied().unwrap_or("none")
    }

    /// The names of all concepts.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.concepts.iter().copied()
    }

    /// The concept of a name.
    pub fn concept(&self, name: &str) -> Option<Concept> {
        self.concepts.iter().position(|known| *known == name).and_then(|place| Concept::try_from(place).ok())
    }

    /// Every word that stands in a phrase.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        lines()
            .flat_map(|(_, line)| line.split(|c: char| !c.is_alphanumeric()))
            .filter(|word| !word.is_empty())
    }

    /// The phrases of a text, in its order. A longer phrase hides the shorter ones inside it.
    pub fn hits(&self, tokens: &[Token]) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut covered = 0;
        for (first, token) in tokens.iter().enumerate() {
            let Some(phrases) = self.phrases.get(&token.stem).filter(|_| token.is_word()) else { continue };
            let second =
                tokens.get(first + 1).filter(|token| token.is_word()).map(|token| token.stem.as_str());
            let start = hits.len();
            let mut longest = 0;
            for (rest, concept) in [second, Some("_"), Some(ALONE)]
                .into_iter()
                .flatten()
                .filter_map(|second| phrases.get(second))
                .flatten()
            {
                let last = first + rest.len();
                if rest.len() + 1 < longest || last < covered || !follows(tokens, first + 1, rest) {
                    continue;
                }
                if rest.len() + 1 > longest {
                    hits.truncate(start);
                    longest = rest.len() + 1;
                }
                // Those of equal length stand for several concepts at once.
                hits.push(Hit { concept: *concept, first, last });
            }
            covered = covered.max(first + longest);
        }
        let none = self.concept("none");
        hits.retain(|hit| Some(hit.concept) != none);
        hits
    }

    fn parse(text: &'static str) -> Self {
        let mut lexicon = Self { concepts: Vec::new(), phrases: QuickMap::default() };
        for (name, line) in sections(text) {
            let concept = lexicon.concept(name).unwrap_or_else(|| {
                lexicon.concepts.push(name);
                Concept::try_from(lexicon.concepts.len() - 1).unwrap_or_default()
            });
            for stems in line.split(',').flat_map(alternatives).map(|text| phrase(&text)) {
                let mut stems = stems.into_iter();
                let Some(first) = stems.next() else { continue };
                let rest: Vec<String> = stems.collect();
                let second = rest.first().map_or(ALONE, String::as_str).to_owned();
                let phrases = lexicon.phrases.entry(first).or_default().entry(second).or_default();
                if !phrases.contains(&(rest.clone(), concept)) {
                    phrases.push((rest, concept));
                }
            }
        }
        lexicon
    }
}

/// Every text that `(a|b) c` stands for.
fn alternatives(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('(') else { return vec![text.to_owned()] };
    let Some((choices, after)) = rest.split_once(')') else { return vec![text.to_owned()] };
    choices.split('|').flat_map(|choice| alternatives(&format!("{before}{choice}{after}"))).collect()
}

fn follows(tokens: &[Token], first: usize, stems: &[String]) -> bool {
    let Some(window) = tokens.get(first..first + stems.len()) else { return false };
    window.iter().zip(stems).all(|(token, stem)| token.is_word() && (*stem == token.stem || stem == "_"))
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    sections(TEXT)
}

/// Each line of phrases with the concept that it belongs to. What stands before the first concept is a comment.
fn sections(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut concept = None;
    text.lines().filter(|line| !line.is_empty()).filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            concept = Some(name);
            return None;
        }
        concept.map(|concept| (concept, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendation::text::tokens;

    fn concepts(text: &str) -> Vec<&'static str> {
        let lexicon = Lexicon::builtin();
        lexicon.hits(&tokens(text)).into_iter().map(|hit| lexicon.name(hit.concept)).collect()
    }

    #[test]
    fn phrases_match_by_stem_and_the_longest_wins() {
        assert!(concepts("every 15 minutes").contains(&"pf.sched"));
        assert!(concepts("needs the manager's sign-off").contains(&"lg.approve"));
        assert!(!concepts("state of the art").contains(&"lg.state"));
        assert!(!concepts("every, night").contains(&"pf.sched"), "never across punctuation");
    }
}
