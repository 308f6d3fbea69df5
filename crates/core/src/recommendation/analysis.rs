//! What is read out of a description before anything is weighed: tokens, phrases, clauses, denials, order, features.
//!
//! Public for the training program: it must see the very features that the model sees.

use super::clause::{Clause, Cue, clauses};
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
        let inside: Vec<&Hit> = self.hits_in(clause).collect();
        if let Some(hit) = inside.iter().find(|hit| self.counts(hit)).filter(|hit| self.leads(clause, hit.first)) {
            sink.feature("f", lexicon.name(hit.concept), "", hit.first);
            if self.is_ordered(clause) {
                sink.feature("m", lexicon.name(hit.concept), "", hit.first);
            }
        }
        for (k, hit) in inside.iter().enumerate() {
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
        !self.is_denied(hit.last) && !self.is_name(hit.first) && !(self.is_topic(hit.first) && may_be_topic(hit))
    }

    /// The question word that a clause begins with.
    fn question(&self, clause: &Clause) -> Option<usize> {
        let asks = |n: &usize| {
            let lower = self.tokens.get(*n).map_or("", |token| token.lower.as_str());
            matches!(lower, "which" | "what" | "where" | "who" | "how" | "why" | "does" | "do" | "has" | "did")
        };
        let starts = |n: &usize| n.checked_sub(1).and_then(|n| self.tokens.get(n)).is_none_or(|token| !token.is_word());
        clause.first.checked_sub(1).into_iter().chain([clause.first]).find(|n| asks(n) && starts(n))
    }

    /// A document that something is made from: `use the specs`, `from the leaflet`.
    fn source(&self, clause: &Clause) -> Option<usize> {
        let lexicon = Lexicon::builtin();
        let lower = |n: usize| self.tokens.get(n).map_or("", |token| token.lower.as_str());
        let before = |hit: &&Hit| {
            let words = hit.first.saturating_sub(4).max(clause.first.saturating_sub(1))..hit.first;
            words.into_iter().any(|n| matches!(lower(n), "use" | "using" | "from" | "based" | "with" | "per" | "see" | "in"))
        };
        let mut documents = self.hits_in(clause).filter(|hit| lexicon.name(hit.concept) == "doc.strong" && self.counts(hit));
        documents.find(|hit| before(hit)).map(|hit| hit.first)
    }

    /// Whether a clause is what happens before or after the one beside it: `once X is done, deploy`.
    fn is_ordered(&self, clause: &Clause) -> bool {
        let orders = |other: &Clause| matches!(other.cue, Cue::Prior | Cue::Later) && other.sentence == clause.sentence;
        let Some(n) = self.clauses.iter().position(|other| other.first == clause.first) else { return false };
        let beside = n.checked_sub(1).into_iter().chain([n + 1]).filter_map(|n| self.clauses.get(n));
        !orders(clause) && beside.into_iter().any(orders)
    }

    /// Who is made to act in a clause (`have the supervisor check it`, `a doctor must review`), and where.
    fn delegates(&self, clause: &Clause) -> Option<(&'static str, usize)> {
        let lexicon = Lexicon::builtin();
        let lower = |n: usize| self.tokens.get(n).map_or("", |token| token.lower.as_str());
        let person = |from: usize, to: usize| {
            self.hits_in(clause).any(|hit| from <= hit.first && hit.last < to && lexicon.name(hit.concept) == "person")
        };
        for n in clause.first..clause.last {
            if self.is_denied(n) {
                continue;
            }
            if matches!(lower(n), "have" | "let" | "lets" | "has" | "ask" | "asks" | "get" | "make" | "having" | "letting") {
                let to = (n + 5).min(clause.last);
                let other = !matches!(lower(n + 1), "to" | "been" | "it" | "us" | "me" | "them" | "him" | "her" | "you" | "i" | "no" | "not" | "we");
                if (n + 1..to).any(|k| matches!(lower(k), "agent" | "bot" | "model" | "llm" | "assistant" | "ai")) {
                    return Some(("asks agent", n));
                }
                if person(n + 1, to) {
                    return Some(("asks person", n));
                }
                if other && matches!(lower(n), "have" | "let" | "ask") && n == clause.first {
                    return Some(("asks other", n));
                }
            }
            let agent = matches!(lower(n), "agent" | "bot" | "assistant") && matches!(lower(n.wrapping_sub(1)), "an" | "the" | "a" | "our" | "one" | "single" | "simple");
            if agent {
                return Some(("agent", n));
            }
            let must = matches!(lower(n), "must" | "should" | "decides" | "chooses" | "picks" | "may" | "has" | "needs" | "have" | "can" | "checks" | "reviews" | "wants");
            if must && person(n.saturating_sub(3).max(clause.first), n) {
                return Some(("person must", n));
            }
        }
        None
    }

    /// Whether nothing but words without a meaning stands before `n` in its clause.
    fn leads(&self, clause: &Clause, n: usize) -> bool {
        self.tokens.get(clause.first..n).is_some_and(|words| words.iter().all(|word| is_stop_word(&word.lower)))
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

/// `daily` is only an adjective before a noun (`a daily planner`), and a schedule otherwise (`compute it daily`).
fn adverbs(tokens: &[Token], hits: &mut [Hit]) {
    let lexicon = Lexicon::builtin();
    let (Some(adjective), Some(schedule)) = (lexicon.concept("adj.time"), lexicon.concept("pf.sched")) else { return };
    let acting = |hit: &&Hit| ["read.", "ag.", "pf.etl", "ask", "notify"].iter().any(|start| lexicon.name(hit.concept).starts_with(start));
    let acts: Vec<usize> = hits.iter().filter(acting).map(|hit| hit.first).collect();
    for hit in hits.iter_mut().filter(|hit| hit.concept == adjective && hit.first == hit.last) {
        let opens = hit.first.checked_sub(1).and_then(|n| tokens.get(n)).is_none_or(|before| !before.is_word());
        let adverb = tokens.get(hit.last + 1).is_none_or(|next| !next.is_word() || is_stop_word(&next.lower));
        // `Weekly retrieve the news`
        if adverb || (opens && acts.contains(&(hit.last + 1))) {
            hit.concept = schedule;
        }
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

/// Tokens after `about`, `mention`, `paper on` and the like, to the end of the clause.
fn topics(tokens: &[Token], hits: &[Hit], clauses: &[Clause]) -> Vec<bool> {
    let lexicon = Lexicon::builtin();
    let mut topics = vec![false; tokens.len()];
    let document = |n: usize| hits.iter().any(|hit| hit.last == n && lexicon.name(hit.concept).starts_with("doc."));
    let lower = |n: usize| tokens.get(n).map_or("", |token| token.lower.as_str());
    let cites = |clause: &Clause| (clause.first..clause.last).any(|n| lower(n) == "according" && lower(n + 1) == "to");
    // `List the conditions for approval in the regulation`
    let reads = |clause: &Clause, head: Option<usize>| {
        let inside = |hit: &&Hit| clause.first <= hit.first && hit.last < clause.last;
        let named = |hit: &Hit| lexicon.name(hit.concept);
        let reading = hits.iter().any(|hit| Some(hit.first) == head && (named(hit).starts_with("read.") || named(hit) == "ask" || lower(hit.first) == "list"));
        let wh = matches!(lower(clause.first), "which" | "what" | "where" | "does" | "do" | "how" | "why");
        (reading || wh) && hits.iter().filter(inside).any(|hit| named(hit).starts_with("doc."))
    };
    for clause in clauses {
        // What is written may be named after anything: `write a toast for the approvals clerk`.
        let head = (clause.first..clause.last).find(|n| tokens.get(*n).is_some_and(|token| !is_stop_word(&token.lower)));
        let writes = head.is_some_and(|n| hits.iter().any(|hit| hit.first == n && lexicon.name(hit.concept) == "ag.write") || is_fix(tokens.get(n)));
        // `According to the agreement, who may approve it?`
        let mut inside = clauses.iter().any(|other| other.sentence == clause.sentence && cites(other)) || reads(clause, head);
        for n in clause.first..clause.last {
            let lower = tokens.get(n).map_or("", |token| token.lower.as_str());
            let after_text = n > clause.first && (document(n - 1) || is_talk(tokens.get(n - 1)));
            if inside || (writes && head.is_some_and(|head| n > head)) {
                mark(&mut topics, n);
            }
            inside |= match lower {
                "about" | "regarding" | "concerning" | "mention" | "mentions" | "mentioning" | "discuss" | "discusses" | "entitled" => true,
                "on" | "covering" | "for" => after_text && lower != "for" || (lower == "for" && is_talk(n.checked_sub(1).and_then(|n| tokens.get(n)))),
                _ => false,
            };
        }
    }
    topics
}

fn is_fix(token: Option<&Token>) -> bool {
    let lower = token.map_or("", |token| token.lower.as_str());
    matches!(lower, "fix" | "implement" | "refactor" | "rename" | "add" | "name" | "explain" | "describe" | "turn" | "convert" | "translate")
}

/// Texts that are written, not read.
fn is_talk(token: Option<&Token>) -> bool {
    let lower = token.map_or("", |token| token.lower.as_str());
    matches!(
        lower,
        "talk" | "webinar" | "post" | "speech" | "poem" | "slogan" | "tagline" | "haiku" | "story" | "headline" | "tweet" | "ad" | "copy" | "name" | "names"
            | "blurb" | "lecture" | "workshop" | "joke" | "limerick" | "logo" | "banner" | "presentation" | "course" | "quiz"
    )
}

/// What is read stays what is read, and a time stays a time, even where something is spoken about.
fn may_be_topic(hit: &Hit) -> bool {
    const TIMES: [&str; 1] = ["pf.sched"];
    let name = Lexicon::builtin().name(hit.concept);
    // A schedule is a time of its own (`nightly`), or only the word `schedule`.
    !TIMES.contains(&name) && (name.starts_with("lg.") || name == "person" || name.starts_with("pf.") || matches!(name, "ag.write" | "ag.code" | "ag.call"))
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
