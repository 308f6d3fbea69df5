//! Words, numbers and breaks of a description, with where they stand in it.

use rust_stemmers::{Algorithm, Stemmer};

use super::spelling;
use crate::selection::words::stem;

/// The stem of every number and time of day.
pub const NUMBER: &str = "#";

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word.
    Word,
    /// A number, an amount, an ordinal or a time of day.
    Number,
    /// The end of a sentence.
    Stop,
    /// A comma, a colon, a bracket, a dash: the end of a part of a sentence.
    Pause,
    /// An arrow between steps.
    Arrow,
}

/// A piece of the text.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// Past the last byte.
    pub end: usize,
    /// The word in lower case, its spelling corrected when it was near enough to a known one.
    pub lower: String,
    /// Its stem.
    pub stem: String,
    /// It starts with a capital although no sentence starts here: perhaps a name.
    pub capital: bool,
}

impl Token {
    /// A word or a number.
    pub fn is_word(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Number)
    }
}

/// Cuts a text into tokens.
pub fn tokens(text: &str) -> Vec<Token> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut tokens: Vec<Token> = Vec::with_capacity(text.len() / 5 + 1);
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if !c.is_alphanumeric() {
            let next = chars.peek().map_or(' ', |(_, next)| *next);
            if let Some(kind) = break_kind(c, next, text.get(..start).unwrap_or_default()) {
                tokens.push(blank(kind, start, start + c.len_utf8()));
            }
            continue;
        }
        let mut end = start + c.len_utf8();
        while let Some(&(at, next)) = chars.peek() {
            let inside =
                next.is_alphanumeric() || (is_apostrophe(next) && followed_by_letter(text, at, next));
            let time = matches!(next, ':' | '.' | ',') && c.is_ascii_digit() && followed_by_digit(text, at);
            if !inside && !time {
                break;
            }
            end = at + next.len_utf8();
            chars.next();
        }
        let word = text.get(start..end).unwrap_or_default();
        let first = tokens.last().is_none_or(|token| match token.kind {
            // A semicolon goes on with the sentence: `...; Karin picks one`.
            Kind::Stop => !text.get(token.start..).is_some_and(|rest| rest.starts_with(';')),
            kind => kind == Kind::Arrow,
        });
        tokens.push(read_word(word, start, first, &stemmer));
    }
    drop_title_case(&mut tokens);
    tokens
}

/// The stems of a phrase of the lexicon or of an engine's file; `#` stands for a number, `_` for any word.
pub fn phrase(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '#' && c != '_' && !is_apostrophe(c));
    words.filter(|word| !word.is_empty()).map(|word| stem_of(&word.to_lowercase(), &stemmer)).collect()
}

fn read_word(word: &str, start: usize, first: bool, stemmer: &Stemmer) -> Token {
    let end = start + word.len();
    let capitals = word.chars().filter(|c| c.is_uppercase()).count();
    let starts = word.chars().next().is_some_and(char::is_uppercase);
    // An abbreviation (`PDF`) is no name, nor is the plural of one (`PDFs`).
    let abbreviation = capitals + 1 >= word.chars().count();
    let mut lower: String = word.chars().flat_map(char::to_lowercase).collect();
    if lower.contains(is_apostrophe) {
        lower = lower.replace(is_apostrophe, "'");
        if let Some(short) = lower.strip_suffix("'s") {
            lower = short.to_owned();
        }
    }
    let number = word.starts_with(|c: char| c.is_ascii_digit());
    if !number && let Some(known) = spelling::correct(&lower) {
        lower = known.to_owned();
    }
    Token {
        kind: if number { Kind::Number } else { Kind::Word },
        start,
        end,
        stem: if number { NUMBER.to_owned() } else { stem_of(&lower, stemmer) },
        lower,
        capital: starts && !first && !abbreviation,
    }
}

fn stem_of(lower: &str, stemmer: &Stemmer) -> String {
    match lower {
        "two" | "three" | "four" | "five" | "six" | "seven" | "eight" | "nine" | "ten" | "twelve"
        | "fifteen" | "twenty" | "thirty" | "forty" | "fifty" | "sixty" | "ninety" => NUMBER.to_owned(),
        // The stemmer would make `week` of `weekly`, but only one of them is a schedule.
        "hourly" | "nightly" | "weekly" | "biweekly" | "fortnightly" | "monthly" | "quarterly" | "yearly" => {
            lower.to_owned()
        }
        _ if lower.starts_with(|c: char| c.is_ascii_digit()) => NUMBER.to_owned(),
        _ if is_derived(lower) => lower.strip_suffix('s').unwrap_or(lower).to_owned(),
        _ => stem(stemmer, lower),
    }
}

/// Nouns that the stemmer would take for their verb: a reviewer is a person, a review may be a text.
fn is_derived(lower: &str) -> bool {
    const ENDINGS: [&str; 9] = ["er", "or", "al", "ive", "ment", "ation", "ist", "ance", "ion"];
    let singular = lower.strip_suffix('s').unwrap_or(lower);
    singular.len() > 4 && ENDINGS.iter().any(|ending| singular.ends_with(ending))
}

fn blank(kind: Kind, start: usize, end: usize) -> Token {
    Token { kind, start, end, lower: String::new(), stem: String::new(), capital: false }
}

fn break_kind(c: char, next: char, before: &str) -> Option<Kind> {
    match c {
        '.' if next.is_alphanumeric() || is_abbreviation(before) => None,
        '.' | '!' | '?' | ';' | '\n' | '\u{2026}' | '。' => Some(Kind::Stop),
        ',' | ':' | '(' | ')' | '\u{2014}' | '\u{2013}' | '、' | '[' | ']' => Some(Kind::Pause),
        '-' if next == '-' => Some(Kind::Pause),
        '-' if next.is_whitespace() && before.ends_with(char::is_whitespace) => Some(Kind::Pause),
        '>' | '\u{2192}' | '\u{21d2}' => Some(Kind::Arrow),
        _ => None,
    }
}

/// Whether a text ends with a word that is written with a full stop and ends no sentence: `Dr.`, `e.g.`
fn is_abbreviation(before: &str) -> bool {
    const SHORT: [&str; 11] = ["dr", "mr", "mrs", "ms", "prof", "st", "approx", "vs", "e.g", "i.e", "incl"];
    let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '.').next().unwrap_or_default();
    SHORT.iter().any(|short| word.eq_ignore_ascii_case(short))
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}' | '\u{2bc}' | '`')
}

fn followed_by_letter(text: &str, at: usize, c: char) -> bool {
    text.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next()).is_some_and(char::is_alphabetic)
}

fn followed_by_digit(text: &str, at: usize) -> bool {
    text.get(at + 1..).and_then(|rest| rest.chars().next()).is_some_and(|c| c.is_ascii_digit())
}

/// Where most words have a capital, it says nothing about names.
fn drop_title_case(tokens: &mut [Token]) {
    let words = tokens.iter().filter(|token| token.kind == Kind::Word && token.lower.len() > 3).count();
    let capitals = tokens.iter().filter(|token| token.capital).count();
    if capitals * 2 > words {
        tokens.iter_mut().for_each(|token| token.capital = false);
    }
}

/// Words that carry no meaning of their own here.
pub fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// Sorted, for a search.
const STOP_WORDS: [&str; 88] = [
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "being", "by", "can",
    "could", "did", "do", "does", "down", "each", "for", "from", "had", "has", "have", "he", "her", "here",
    "him", "his", "i", "in", "into", "is", "it", "its", "may", "me", "might", "must", "my", "need", "needs",
    "of", "off", "on", "onto", "or", "our", "out", "over", "she", "should", "so", "some", "such", "than",
    "that", "the", "their", "them", "there", "these", "they", "this", "those", "to", "too", "under", "up",
    "us", "very", "want", "wants", "was", "we", "were", "what", "which", "who", "whom", "whose", "will",
    "with", "would", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(text: &str) -> Vec<String> {
        tokens(text).into_iter().filter(Token::is_word).map(|token| token.lower).collect()
    }

    #[test]
    fn words_are_cut_and_normalised() {
        assert_eq!(
            lower("Don’t RE-READ spec.pdf, at 2:30am!"),
            ["don't", "re", "read", "spec", "pdf", "at", "2:30am"]
        );
        assert_eq!(lower("the client's files"), ["the", "client", "files"]);
    }

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted() && is_stop_word("the") && !is_stop_word("document"));
    }

    #[test]
    fn offsets_point_into_the_text() {
        let text = "Größe — 要約 PDFs, naïve";
        for token in tokens(text).iter().filter(|token| token.is_word()) {
            assert!(text.get(token.start..token.end).is_some());
        }
    }

    #[test]
    fn a_capital_within_a_sentence_may_be_a_name() {
        let found: Vec<_> = tokens("Please ask Scheduler about this PDF file. Now")
            .into_iter()
            .filter(|t| t.capital)
            .collect();
        assert_eq!(found.iter().map(|t| t.lower.as_str()).collect::<Vec<_>>(), ["scheduler"]);
        assert!(tokens("Nightly Load Of Sales Data").iter().all(|token| !token.capital));
    }
}
