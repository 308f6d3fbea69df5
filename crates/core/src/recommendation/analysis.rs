//! What is read out of a description before anything is weighed: tokens, phrases, clauses, denials, order, features.
//!
//! Public for the training program: it must see the very features that the model sees.

use super::clause::{Clause, clauses};
use super::lexicon::{Hit, Lexicon};
use super::negation::denied;
use super::order::places;
use super::text::{Kind, Token, tokens};

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
        let hits = Lexicon::builtin().hits(&tokens);
        let mut clauses = clauses(&tokens, &hits);
        let denied = denied(&tokens, &mut clauses);
        let places = places(&tokens, &clauses);
        let names = names(&tokens, text);
        Self { tokens, hits, clauses, denied, places, names }
    }

    /// The features of a clause.
    pub fn clause_features(&self, clause: &Clause, sink: &mut impl Sink) {
        let lexicon = Lexicon::builtin();
        sink.feature("cue", clause.cue.name(), "", clause.first);
        let mut before: Option<&str> = None;
        for n in clause.first..clause.last {
            let Some(token) = self.tokens.get(n).filter(|token| token.is_word() && !is_stop_word(&token.lower)) else { continue };
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
        let inside: Vec<&Hit> = self.hits_in(clause).collect();
        for (k, hit) in inside.iter().enumerate() {
            let name = lexicon.name(hit.concept);
            if self.is_denied(hit.last) {
                sink.feature("!", name, "", hit.last);
                continue;
            }
            if self.is_name(hit.first) {
                sink.feature("^", name, "", hit.first);
                continue;
            }
            // Said twice in a clause is said once.
            let seen = |other: &&&Hit| other.concept == hit.concept && self.counts(other);
            if inside.iter().take(k).any(|other| seen(&other)) {
                continue;
            }
            sink.feature("c", name, "", hit.first);
            let pairs = |other: &&&Hit| other.concept != hit.concept && self.counts(other) && lexicon.name(other.concept) != "vague";
            for other in inside.iter().take(k).filter(pairs).filter(|_| name != "vague") {
                let other = lexicon.name(other.concept);
                let (a, b) = if other < name { (other, name) } else { (name, other) };
                sink.feature("cc", a, b, hit.first);
            }
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
        let content = self.tokens.iter().enumerate().filter(|(n, token)| {
            let meant = self.hits.iter().any(|hit| hit.first <= *n && *n <= hit.last && Some(hit.concept) == vague);
            token.is_word() && !is_stop_word(&token.lower) && !meant
        });
        let words = match content.count() {
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
        self.hits.iter().filter(move |hit| clause.first <= hit.first && hit.last < clause.last)
    }

    /// Whether a phrase is meant: neither denied nor a name.
    pub fn counts(&self, hit: &Hit) -> bool {
        !self.is_denied(hit.last) && !self.is_name(hit.first)
    }

    fn is_denied(&self, n: usize) -> bool {
        self.denied.get(n).copied().unwrap_or(false)
    }

    fn is_name(&self, n: usize) -> bool {
        self.names.get(n).copied().unwrap_or(false)
    }
}

/// Tokens that belong to names: after `called` and the like, in quotes, or with a capital where no sentence starts.
/// A name of several words is one only when a capital says so.
fn names(tokens: &[Token], text: &str) -> Vec<bool> {
    let mut names: Vec<bool> = tokens.iter().map(|token| token.capital && !is_calendar(&token.lower)).collect();
    for (n, token) in tokens.iter().enumerate() {
        if !matches!(token.lower.as_str(), "called" | "named" | "titled" | "entitled" | "branded" | "nicknamed" | "dubbed") {
            continue;
        }
        let mut words = tokens.iter().enumerate().skip(n + 1).take_while(|(_, token)| token.kind == Kind::Word).take(4);
        if let Some((first, word)) = words.next() {
            mark(&mut names, first);
            if !word.capital {
                continue;
            }
        }
        words.take_while(|(_, token)| token.capital).for_each(|(n, _)| mark(&mut names, n));
    }
    let quoted = |token: &Token| {
        let before = text.get(..token.start).and_then(|text| text.chars().next_back());
        let after = text.get(token.end..).and_then(|text| text.chars().next());
        (before.is_some_and(is_quote), after.is_some_and(is_quote))
    };
    let mut open: Option<usize> = None;
    for (n, token) in tokens.iter().enumerate() {
        let (opens, closes) = quoted(token);
        if opens {
            open = Some(n);
        }
        if closes && let Some(first) = open.take().filter(|first| n - first < 4) {
            (first..=n).for_each(|n| mark(&mut names, n));
        }
    }
    names
}

fn mark(names: &mut [bool], n: usize) {
    if let Some(place) = names.get_mut(n) {
        *place = true;
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}' | '\'' | '\u{2018}' | '\u{2019}' | '`')
}

/// Capitals that make no name: days, months, departments, and what everybody writes large.
fn is_calendar(word: &str) -> bool {
    const LARGE: &str = "monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays \
        fridays saturdays sundays january february march april may june july august september october november december \
        legal finance compliance security english french german spanish slack teams excel postgres snowflake bigquery \
        redshift databricks salesforce sharepoint confluence word python javascript rust java langgraph prefect llamaindex agno kafka mysql \
        oracle jira github gitlab kubernetes airflow dbt spark stripe shopify counsel director manager board officer committee";
    LARGE.split_whitespace().any(|large| large == word)
}

/// Words that carry no meaning of their own here.
pub fn is_stop_word(word: &str) -> bool {
    const STOP: &str = "a an the of to in on at for from with by and or as is are be been being was were it its this that these those \
        i we you he she they them our your my their his her me us him do does did has have had will would should could can may might must \
        there here also too very so such than into onto over under out up down off about all any each some what which who whom whose need needs want wants";
    STOP.split_whitespace().any(|stop| stop == word)
}
