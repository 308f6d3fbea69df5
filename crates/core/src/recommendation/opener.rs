//! Words that open a clause, and the order that they give.

use std::sync::OnceLock;

use super::clause::Cue;
use super::hash::QuickMap;
use super::lexicon::{Hit, LONGEST, Lexicon, beginning};
use super::text::{Kind, Token};

/// Words that open a clause, the longest first, each with what they say.
const OPENERS: &[(&str, Cue)] = &[
    ("as soon as", Cue::Prior),
    ("in order to", Cue::None),
    ("from there on", Cue::Then),
    ("from then on", Cue::Then),
    ("when that done", Cue::Then),
    ("once that done", Cue::Then),
    ("when it done", Cue::Then),
    ("but not before", Cue::Prior),
    ("not before", Cue::Prior),
    ("only after", Cue::Prior),
    ("only once", Cue::Prior),
    ("only when", Cue::Prior),
    ("only if", Cue::Prior),
    ("only then", Cue::Then),
    ("not until", Cue::Prior),
    ("as long as", Cue::Prior),
    ("subject to", Cue::Prior),
    ("whereupon", Cue::Then),
    ("thereupon", Cue::Then),
    ("precedes", Cue::Then),
    ("to that end", Cue::Before),
    ("and for that", Cue::Before),
    ("presupposes that", Cue::Prior),
    ("presupposes", Cue::Prior),
    ("hinges on", Cue::Prior),
    ("conditional on", Cue::Prior),
    ("contingent on", Cue::Prior),
    ("dependent on", Cue::Prior),
    ("preceded by", Cue::Prior),
    ("based on", Cue::Prior),
    ("on the basis of", Cue::Prior),
    ("followed by", Cue::Then),
    ("prior to", Cue::Later),
    ("ahead of", Cue::Later),
    ("in advance of", Cue::Later),
    ("leading to", Cue::Then),
    ("and then", Cue::Then),
    ("but first", Cue::First),
    ("first of all", Cue::First),
    ("to begin with", Cue::First),
    ("to start with", Cue::First),
    ("start by", Cue::First),
    ("starts by", Cue::First),
    ("start with", Cue::First),
    ("starts with", Cue::First),
    ("begin by", Cue::First),
    ("begins by", Cue::First),
    ("begin with", Cue::First),
    ("begins with", Cue::First),
    ("at the very start", Cue::First),
    ("at the very beginning", Cue::First),
    ("at the outset", Cue::First),
    ("before that", Cue::Before),
    ("before them", Cue::Before),
    ("before either", Cue::Before),
    ("before any of", Cue::Before),
    ("before anything", Cue::Before),
    ("before all that", Cue::Before),
    ("before this", Cue::Before),
    ("prior to that", Cue::Before),
    ("prior to this", Cue::Before),
    ("at the very end", Cue::Last),
    ("at the end of it all", Cue::Last),
    ("as the last step", Cue::Last),
    ("as a last step", Cue::Last),
    ("as the final step", Cue::Last),
    ("after that", Cue::Then),
    ("after this", Cue::Then),
    ("after which", Cue::Then),
    ("at which point", Cue::Then),
    ("when that is done", Cue::Then),
    ("once that is done", Cue::Then),
    ("once done", Cue::Then),
    ("when done", Cue::Then),
    ("next up", Cue::Then),
    ("last of all", Cue::Then),
    ("now that", Cue::Prior),
    ("given that", Cue::Prior),
    ("provided that", Cue::Prior),
    ("assuming that", Cue::Prior),
    ("so that", Cue::None),
    ("such that", Cue::None),
    ("beforehand", Cue::Before),
    ("initially", Cue::First),
    ("firstly", Cue::First),
    ("first", Cue::First),
    ("then", Cue::Then),
    ("afterwards", Cue::Then),
    ("afterward", Cue::Then),
    ("subsequently", Cue::Then),
    ("thereafter", Cue::Then),
    ("next", Cue::Then),
    ("finally", Cue::Then),
    ("lastly", Cue::Then),
    ("eventually", Cue::Then),
    ("ultimately", Cue::Then),
    ("later", Cue::Then),
    ("before", Cue::Later),
    ("after", Cue::Prior),
    ("once", Cue::Prior),
    ("when", Cue::Prior),
    ("whenever", Cue::Prior),
    ("following", Cue::Prior),
    ("upon", Cue::Prior),
    ("until", Cue::Prior),
    ("till", Cue::Prior),
    ("unless", Cue::Prior),
    ("provided", Cue::Prior),
    ("providing", Cue::Prior),
    ("assuming", Cue::Prior),
    ("pending", Cue::Prior),
    ("if", Cue::Prior),
    ("using", Cue::Prior),
    ("which", Cue::None),
    ("who", Cue::None),
    ("while", Cue::None),
    ("because", Cue::None),
    ("since", Cue::None),
    ("so", Cue::None),
    ("but", Cue::None),
    ("though", Cue::None),
    ("although", Cue::None),
    ("however", Cue::None),
    ("whereas", Cue::None),
    ("except", Cue::None),
    ("plus", Cue::None),
];

/// Words at the end of a clause that say when it happens, the longest first.
const CLOSERS: &[(&str, Cue)] = &[
    ("only at the very end", Cue::Last),
    ("at the very end", Cue::Last),
    ("right at the end", Cue::Last),
    ("last of all", Cue::Last),
    ("very last", Cue::Last),
    ("last", Cue::Last),
    ("at the very start", Cue::First),
    ("at the very beginning", Cue::First),
    ("at the outset", Cue::First),
    ("first of all", Cue::First),
    ("before all that", Cue::Before),
    ("before that", Cue::Before),
    ("before this", Cue::Before),
    ("prior to that", Cue::Before),
    ("ahead of that", Cue::Before),
    ("beforehand", Cue::Before),
    ("before", Cue::Before),
    ("first", Cue::First),
];

/// After `and`, these open a clause: something acts or decides.
const ACTION_CONCEPTS: [&str; 15] = [
    "lg.decide",
    "lg.approve",
    "lg.human",
    "lg.branch",
    "lg.state",
    "lg.loop",
    "person",
    "pf.etl",
    "pf.sched",
    "read.strong",
    "ag.write",
    "ag.code",
    "ag.call",
    "notify",
    "read.weak",
];

/// The order that words at `n` give to the clause that they end, and how many words they are.
pub fn closer(tokens: &[Token], n: usize) -> Option<(Cue, usize)> {
    static BY_WORD: OnceLock<ByWord> = OnceLock::new();
    let (_, cue, words) = find(BY_WORD.get_or_init(|| by_word(CLOSERS)), tokens, n)?;
    ends_here(tokens, n + words).then_some((cue, words))
}

/// Phrases by their first word, each with the words after it and what it says.
type ByWord = QuickMap<&'static str, Vec<(&'static str, Vec<&'static str>, Cue)>>;

fn by_word(phrases: &'static [(&'static str, Cue)]) -> ByWord {
    let mut map = ByWord::default();
    for (text, cue) in phrases {
        let mut words = text.split(' ');
        map.entry(words.next().unwrap_or_default()).or_default().push((text, words.collect(), *cue));
    }
    map
}

/// The phrase that stands at `n`, what it says, and how many words it has.
fn find(phrases: &ByWord, tokens: &[Token], n: usize) -> Option<(&'static str, Cue, usize)> {
    let is = |n: usize, word: &str| {
        tokens.get(n).is_some_and(|token| token.kind == Kind::Word && token.lower == word)
    };
    let candidates = phrases.get(tokens.get(n)?.lower.as_str())?;
    let (text, words, cue) = candidates
        .iter()
        .find(|(_, words, _)| words.iter().enumerate().all(|(k, word)| is(n + 1 + k, word)))?;
    Some((text, *cue, words.len() + 1))
}

/// The order that the words at `n` give, and how many words they are.
pub fn opener(tokens: &[Token], hits: &[Hit], n: usize) -> Option<(Cue, usize)> {
    let token = tokens.get(n)?;
    if token.kind != Kind::Word {
        return None;
    }
    // `once a week` and `before opening` are times, not orders.
    let lexicon = Lexicon::builtin();
    if beginning(hits, n.saturating_sub(LONGEST), n + 1)
        .iter()
        .any(|hit| n <= hit.last && hit.last > hit.first && lexicon.name(hit.concept) == "pf.sched")
    {
        return None;
    }
    if token.lower == "and" {
        return opens_action(tokens, hits, n).then_some((Cue::None, 1));
    }
    // `With the permission obtained, run the export.`
    let opens = n.checked_sub(1).and_then(|n| tokens.get(n)).is_none_or(|before| before.kind == Kind::Stop);
    if token.lower == "with" && opens {
        return Some((Cue::Prior, 1));
    }
    // `use the specs to write`: what is read, then what is made of it.
    if token.lower == "to" && makes(hits, n + 1) && reads(hits, n) {
        return Some((Cue::Then, 1));
    }
    // `X needs Y first` is `Y, X`.
    if matches!(token.lower.as_str(), "needs" | "need" | "requires" | "require" | "takes" | "awaits")
        && says_first(tokens, n)
    {
        return Some((Cue::Prior, 1));
    }
    // `Before, the manager must agree`: before that.
    if token.lower == "before" && ends_here(tokens, n + 1) {
        return Some((Cue::Before, 1));
    }
    let before = n.checked_sub(1).and_then(|n| tokens.get(n)).map_or("", |token| token.lower.as_str());
    static BY_WORD: OnceLock<ByWord> = OnceLock::new();
    let (text, cue, words) = find(BY_WORD.get_or_init(|| by_word(OPENERS)), tokens, n)?;
    match text {
        // `tell me which`, `decide who`: what is asked, not an aside.
        "which" | "who" if tokens.get(n.wrapping_sub(1)).is_none_or(Token::is_word) => return None,
        // `the following documents`, `the first page`, `the next step`, `at first`
        "following" | "first" | "next" | "later" | "provided" | "pending" if is_modifier(before) => {
            return None;
        }
        "so" if tokens
            .get(n + 1)
            .is_some_and(|token| matches!(token.lower.as_str(), "far" | "called" | "much" | "many")) =>
        {
            return None;
        }
        _ => {}
    }
    Some((cue, words))
}

fn is_modifier(before: &str) -> bool {
    matches!(
        before,
        "the"
            | "a"
            | "an"
            | "at"
            | "our"
            | "my"
            | "your"
            | "their"
            | "each"
            | "every"
            | "this"
            | "that"
            | "on"
            | "to"
            | "of"
            | "is"
            | "are"
            | "days"
            | "in"
            | "weeks"
            | "hours"
            | "no"
            | "information"
            | "data"
            | "by"
            | "who"
    )
}

/// Whether `and` opens a clause: within the next two words something acts or decides.
fn opens_action(tokens: &[Token], hits: &[Hit], n: usize) -> bool {
    let lexicon = Lexicon::builtin();
    let next = tokens.get(n + 1).map_or("", |token| token.lower.as_str());
    let asks = matches!(
        next,
        "let"
            | "have"
            | "has"
            | "get"
            | "gets"
            | "ask"
            | "asks"
            | "require"
            | "requires"
            | "obtain"
            | "wait"
            | "waits"
            | "hold"
            | "send"
            | "sends"
            | "put"
            | "leave"
            | "hand"
            | "hands"
            | "keep"
            | "tell"
            | "store"
            | "when"
            | "if"
            | "once"
            | "afterwards"
            | "finally"
            | "after"
            | "only"
            | "make"
            | "run"
            | "use"
            | "return"
            | "schedule"
    );
    if asks {
        return true;
    }
    let mut near = beginning(hits, n + 1, n + 3)
        .iter()
        .filter(|hit| hit.first == n + 1 || (hit.first == n + 2 && short(tokens, n + 1)));
    near.any(|hit| ACTION_CONCEPTS.contains(&lexicon.name(hit.concept)))
}

fn short(tokens: &[Token], n: usize) -> bool {
    let lower = tokens.get(n).map_or("", |token| token.lower.as_str());
    matches!(
        lower,
        "a" | "an"
            | "the"
            | "our"
            | "to"
            | "get"
            | "have"
            | "let"
            | "ask"
            | "must"
            | "should"
            | "it"
            | "is"
            | "are"
            | "be"
            | "only"
            | "also"
            | "my"
            | "their"
            | "some"
            | "one"
            | "automatically"
            | "will"
            | "needs"
    )
}

fn makes(hits: &[Hit], n: usize) -> bool {
    let lexicon = Lexicon::builtin();
    beginning(hits, n, n + 1).iter().any(|hit| matches!(lexicon.name(hit.concept), "ag.write" | "ag.code"))
}

/// Whether something to read stands shortly before `n`.
fn reads(hits: &[Hit], n: usize) -> bool {
    let lexicon = Lexicon::builtin();
    beginning(hits, n.saturating_sub(LONGEST + 6), n)
        .iter()
        .any(|hit| hit.last < n && hit.last + 6 > n && lexicon.name(hit.concept) == "doc.strong")
}

/// Whether no word stands at `n`.
pub fn ends_here(tokens: &[Token], n: usize) -> bool {
    tokens.get(n).is_none_or(|token| !token.is_word())
}

/// Whether the part that begins at `n` ends with `first` or `beforehand`.
fn says_first(tokens: &[Token], n: usize) -> bool {
    let part = tokens.iter().skip(n).take_while(|token| token.is_word());
    part.last().is_some_and(|token| matches!(token.lower.as_str(), "first" | "beforehand"))
}
