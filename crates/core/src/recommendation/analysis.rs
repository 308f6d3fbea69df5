//! What is read out of a description before anything is weighed: tokens, phrases, clauses, denials, order, features.
//!
//! Public for the training program: it must see the very features that the model sees.

use super::clause::{Clause, Cue, clauses};
use super::lexicon::{Hit, LONGEST, Lexicon, beginning};
use super::mention::{adverbs, may_be_topic, names, topics};
use super::negation::denied;
use super::order::places;
use super::text::{Token, is_stop_word, tokens};

/// A description, read.
pub struct Analysis {
    /// Words, numbers, breaks.
    pub tokens: Vec<Token>,
    /// Phrases of the lexicon.
    pub hits: Vec<Hit>,
    /// Parts.
    pub clauses: Vec<Clause>,
    /// Whether each token is denied.
    pub denied: Vec<bool>,
    /// The place of each clause in time.
    pub places: Vec<usize>,
    /// Whether each token is, or may be, part of a name.
    pub names: Vec<bool>,
    /// Whether each token is only what something is about: `papers on scheduling`, `an email about the approval`.
    pub topics: Vec<bool>,
}

/// Takes features, each a kind and up to two parts, with the token that it hangs on.
pub trait Sink {
    /// Takes one.
    fn feature(&mut self, kind: &str, a: &str, b: &str, token: usize);
}

impl Analysis {
    /// Reads a description.
    pub fn new(text: &str) -> Self {
        let tokens = tokens(text);
        let mut hits = Lexicon::builtin().hits(&tokens);
        adverbs(&tokens, &mut hits);
        let mut clauses = clauses(&tokens, &hits);
        let denied = denied(&tokens, &mut clauses);
        let places = places(&tokens, &clauses);
        let names = names(&tokens, text);
        let topics = topics(&tokens, &hits, &clauses);
        Self { tokens, hits, clauses, denied, places, names, topics }
    }

    /// The features of a clause.
    pub fn clause_features(&self, clause: &Clause, sink: &mut impl Sink) {
        let lexicon = Lexicon::builtin();
        if !matches!(clause.cue, Cue::Start | Cue::None) {
            sink.feature("cue", clause.cue.name(), "", clause.first);
        }
        let mut before: Option<&str> = None;
        for n in clause.first..clause.last {
            let Some(token) =
                self.tokens.get(n).filter(|token| token.is_word() && !is_stop_word(&token.lower))
            else {
                continue;
            };
            if self.is_denied(n) {
                before = None;
                continue;
            }
            if !self.is_name(n) {
                sink.feature("w", &token.stem, "", n);
            }
            if let Some(before) = before {
                sink.feature("b", before, &token.stem, n);
            }
            before = Some(&token.stem);
        }
        if let Some(n) = self.question(clause) {
            sink.feature("s", "question", "", n);
            for hit in self.hits_in(clause).filter(|hit| self.counts(hit)) {
                sink.feature("sc", "question", lexicon.name(hit.concept), n);
            }
        }
        if let Some(n) = self.source(clause) {
            sink.feature("s", "source", "", n);
        }
        if let Some((who, n)) = self.delegates(clause) {
            sink.feature("s", who, "", n);
        }
        if let Some(hit) =
            self.hits_in(clause).find(|hit| self.counts(hit)).filter(|hit| self.leads(clause, hit.first))
        {
            sink.feature("f", lexicon.name(hit.concept), "", hit.first);
            if self.is_ordered(clause) {
                sink.feature("m", lexicon.name(hit.concept), "", hit.first);
            }
        }
        if let Some(n) =
            (clause.first..clause.last).find(|n| self.is_person_name(*n) && self.leads(clause, *n))
        {
            sink.feature("f", "name", "", n);
        }
        let mut said: Vec<u16> = Vec::new();
        for hit in self.hits_in(clause) {
            let name = lexicon.name(hit.concept);
            if self.is_denied(hit.last) {
                sink.feature("!", name, "", hit.last);
                continue;
            }
            if !self.counts(hit) {
                sink.feature("^", name, "", hit.first);
                continue;
            }
            // Said twice in a clause is said once.
            if said.contains(&hit.concept) {
                continue;
            }
            sink.feature("c", name, "", hit.first);
            let others = said.iter().map(|other| lexicon.name(*other));
            for other in others.filter(|other| *other != "vague" && name != "vague") {
                let (a, b) = if other < name { (other, name) } else { (name, other) };
                sink.feature("cc", a, b, hit.first);
            }
            said.push(hit.concept);
        }
    }

    /// The features of the whole description.
    pub fn whole_features(&self, sink: &mut impl Sink) {
        let lexicon = Lexicon::builtin();
        let mut seen: Vec<u16> = Vec::new();
        for hit in self.hits.iter().filter(|hit| self.counts(hit)) {
            if !seen.contains(&hit.concept) {
                seen.push(hit.concept);
                sink.feature("g", lexicon.name(hit.concept), "", hit.first);
            }
        }
        if let Some(hit) = self.hits.iter().find(|hit| self.is_denied(hit.last)) {
            sink.feature("g", "denied", "", hit.first);
        }
        let vague = lexicon.concept("vague");
        let says_nothing = |n: usize| {
            let mut over = beginning(&self.hits, n.saturating_sub(LONGEST), n + 1).iter();
            over.any(|hit| n <= hit.last && Some(hit.concept) == vague)
        };
        let content = self
            .tokens
            .iter()
            .enumerate()
            .filter(|(n, token)| token.is_word() && !is_stop_word(&token.lower) && !says_nothing(*n));
        // More than ten is not told apart.
        let words = match content.take(10).count() {
            0 => "0",
            1 => "1",
            2 => "2",
            3 => "3",
            4..=5 => "4",
            6..=9 => "6",
            _ => "10",
        };
        sink.feature("n", "words", words, 0);
        let clauses = match self.clauses.len() {
            0 | 1 => "1",
            2 => "2",
            3 => "3",
            _ => "4",
        };
        sink.feature("n", "clauses", clauses, 0);
    }

    /// The phrases inside a clause.
    pub fn hits_in(&self, clause: &Clause) -> impl Iterator<Item = &Hit> {
        beginning(&self.hits, clause.first, clause.last).iter().filter(|hit| hit.last < clause.last)
    }

    /// Whether a phrase is meant: neither denied nor a name.
    pub fn counts(&self, hit: &Hit) -> bool {
        !(self.is_denied(hit.last)
            || self.is_name(hit.first)
            || (self.is_topic(hit.first) && may_be_topic(hit)))
    }

    /// The question word that a clause begins with.
    fn question(&self, clause: &Clause) -> Option<usize> {
        let asks = |n: &usize| {
            let lower = self.tokens.get(*n).map_or("", |token| token.lower.as_str());
            matches!(
                lower,
                "which" | "what" | "where" | "who" | "how" | "why" | "does" | "do" | "has" | "did"
            )
        };
        let starts = |n: &usize| {
            n.checked_sub(1).and_then(|n| self.tokens.get(n)).is_none_or(|token| !token.is_word())
        };
        clause.first.checked_sub(1).into_iter().chain([clause.first]).find(|n| asks(n) && starts(n))
    }

    /// A document that something is made from: `use the specs`, `from the leaflet`.
    fn source(&self, clause: &Clause) -> Option<usize> {
        let lexicon = Lexicon::builtin();
        let lower = |n: usize| self.tokens.get(n).map_or("", |token| token.lower.as_str());
        let before = |hit: &&Hit| {
            let words = hit.first.saturating_sub(6).max(clause.first.saturating_sub(2))..hit.first;
            words.into_iter().any(|n| {
                matches!(
                    lower(n),
                    "use" | "using" | "from" | "based" | "basis" | "with" | "per" | "see" | "in"
                )
            })
        };
        let mut documents =
            self.hits_in(clause).filter(|hit| lexicon.name(hit.concept) == "doc.strong" && self.counts(hit));
        documents.find(|hit| before(hit)).map(|hit| hit.first)
    }

    /// Whether a clause is what happens before or after the one beside it: `once X is done, deploy`.
    fn is_ordered(&self, clause: &Clause) -> bool {
        let orders = |other: &Clause| {
            matches!(other.cue, Cue::Prior | Cue::Later) && other.sentence == clause.sentence
        };
        let Ok(n) = self.clauses.binary_search_by_key(&clause.first, |other| other.first) else {
            return false;
        };
        let beside = n.checked_sub(1).into_iter().chain([n + 1]).filter_map(|n| self.clauses.get(n));
        !orders(clause) && beside.into_iter().any(orders)
    }

    /// Who is made to act in a clause (`have the supervisor check it`, `a doctor must review`), and where.
    fn delegates(&self, clause: &Clause) -> Option<(&'static str, usize)> {
        let lexicon = Lexicon::builtin();
        let lower = |n: usize| self.tokens.get(n).map_or("", |token| token.lower.as_str());
        let person = |from: usize, to: usize| {
            let mut near = beginning(&self.hits, from, to).iter();
            near.any(|hit| hit.last < to && lexicon.name(hit.concept) == "person")
                || (from..to).any(|n| self.is_person_name(n))
        };
        for n in clause.first..clause.last {
            if self.is_denied(n) {
                continue;
            }
            if matches!(
                lower(n),
                "have" | "let" | "lets" | "has" | "ask" | "asks" | "get" | "make" | "having" | "letting"
            ) {
                let to = (n + 5).min(clause.last);
                let other = !matches!(
                    lower(n + 1),
                    "to" | "been"
                        | "it"
                        | "us"
                        | "me"
                        | "them"
                        | "him"
                        | "her"
                        | "you"
                        | "i"
                        | "no"
                        | "not"
                        | "we"
                );
                if (n + 1..to)
                    .any(|k| matches!(lower(k), "agent" | "bot" | "model" | "llm" | "assistant" | "ai"))
                {
                    return Some(("asks agent", n));
                }
                if person(n + 1, to) {
                    return Some(("asks person", n));
                }
                if other && matches!(lower(n), "have" | "let" | "ask") && n == clause.first {
                    return Some(("asks other", n));
                }
            }
            let agent = matches!(lower(n), "agent" | "bot" | "assistant")
                && matches!(
                    lower(n.wrapping_sub(1)),
                    "an" | "the" | "a" | "our" | "one" | "single" | "simple"
                );
            if agent {
                return Some(("agent", n));
            }
            let must = matches!(
                lower(n),
                "must"
                    | "should"
                    | "decides"
                    | "chooses"
                    | "picks"
                    | "may"
                    | "has"
                    | "needs"
                    | "have"
                    | "can"
                    | "checks"
                    | "reviews"
                    | "wants"
                    | "says"
                    | "rules"
                    | "decide"
                    | "agrees"
                    | "signs"
            );
            if must && person(n.saturating_sub(3).max(clause.first), n) {
                return Some(("person must", n));
            }
        }
        None
    }

    /// Whether nothing but words without a meaning stands before `n` in its clause.
    fn leads(&self, clause: &Clause, n: usize) -> bool {
        self.tokens
            .get(clause.first..n)
            .is_some_and(|words| words.iter().all(|word| is_stop_word(&word.lower)))
    }

    /// A word with a capital that may be somebody's name: `Karin picks one`.
    fn is_person_name(&self, n: usize) -> bool {
        self.is_name(n) && self.tokens.get(n).is_some_and(|token| token.capital)
    }

    fn is_topic(&self, n: usize) -> bool {
        self.topics.get(n).copied().unwrap_or(false)
    }

    fn is_denied(&self, n: usize) -> bool {
        self.denied.get(n).copied().unwrap_or(false)
    }

    fn is_name(&self, n: usize) -> bool {
        self.names.get(n).copied().unwrap_or(false)
    }
}
