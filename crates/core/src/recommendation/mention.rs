//! What is mentioned and not meant: names (`a product called Scheduler`), topics (`papers on scheduling`, `a toast for
//! the approvals clerk`), and adjectives that only look like a schedule (`a daily planner`).

use std::collections::HashSet;
use std::sync::OnceLock;

use super::clause::Clause;
use super::hash::QuickSet;
use super::lexicon::{Hit, LONGEST, Lexicon, beginning};
use super::text::{Kind, Token, is_stop_word};

/// `daily` is only an adjective before a noun (`a daily planner`), and a schedule otherwise (`compute it daily`).
pub fn adverbs(tokens: &[Token], hits: &mut [Hit]) {
    let lexicon = Lexicon::builtin();
    let (Some(adjective), Some(schedule)) = (lexicon.concept("adj.time"), lexicon.concept("pf.sched")) else {
        return;
    };
    let acting = |hit: &&Hit| {
        ["read.", "ag.", "pf.etl", "ask", "notify"]
            .iter()
            .any(|start| lexicon.name(hit.concept).starts_with(start))
    };
    let acts: Vec<usize> = hits.iter().filter(acting).map(|hit| hit.first).collect();
    for hit in hits.iter_mut().filter(|hit| hit.concept == adjective && hit.first == hit.last) {
        let opens =
            hit.first.checked_sub(1).and_then(|n| tokens.get(n)).is_none_or(|before| !before.is_word());
        let adverb = tokens.get(hit.last + 1).is_none_or(|next| !next.is_word() || is_stop_word(&next.lower));
        // `Weekly retrieve the news`
        if adverb || (opens && acts.binary_search(&(hit.last + 1)).is_ok()) {
            hit.concept = schedule;
        }
    }
}

/// Tokens that belong to names: after `called` and the like, in quotes, or with a capital where no sentence starts.
/// A name of several words is one only when a capital says so.
pub fn names(tokens: &[Token], text: &str) -> Vec<bool> {
    let mut names: Vec<bool> =
        tokens.iter().map(|token| token.capital && !is_calendar(&token.lower)).collect();
    for (n, token) in tokens.iter().enumerate() {
        if !matches!(
            token.lower.as_str(),
            "called" | "named" | "titled" | "entitled" | "branded" | "nicknamed" | "dubbed"
        ) {
            continue;
        }
        let mut words =
            tokens.iter().enumerate().skip(n + 1).take_while(|(_, token)| token.kind == Kind::Word).take(4);
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
pub fn topics(tokens: &[Token], hits: &[Hit], clauses: &[Clause]) -> Vec<bool> {
    let lexicon = Lexicon::builtin();
    let mut topics = vec![false; tokens.len()];
    let document = |n: usize| {
        let mut near = beginning(hits, n.saturating_sub(LONGEST), n + 1).iter();
        near.any(|hit| hit.last == n && lexicon.name(hit.concept).starts_with("doc."))
    };
    let lower = |n: usize| tokens.get(n).map_or("", |token| token.lower.as_str());
    let cites = |clause: &Clause| {
        (clause.first..clause.last).any(|n| lower(n) == "according" && lower(n + 1) == "to")
    };
    let citing: HashSet<usize> =
        clauses.iter().filter(|clause| cites(clause)).map(|clause| clause.sentence).collect();
    let starting = |head: Option<usize>| head.map_or(&[] as &[Hit], |n| beginning(hits, n, n + 1));
    // `List the conditions for approval in the regulation`
    let reads = |clause: &Clause, head: Option<usize>| {
        let named = |hit: &Hit| lexicon.name(hit.concept);
        let reading = starting(head)
            .iter()
            .any(|hit| named(hit).starts_with("read.") || named(hit) == "ask" || lower(hit.first) == "list");
        let wh = matches!(lower(clause.first), "which" | "what" | "where" | "does" | "do" | "how" | "why");
        let inside = beginning(hits, clause.first, clause.last);
        (reading || wh) && inside.iter().any(|hit| named(hit).starts_with("doc."))
    };
    for clause in clauses {
        // What is written may be named after anything: `write a toast for the approvals clerk`.
        let head = (clause.first..clause.last)
            .find(|n| tokens.get(*n).is_some_and(|token| !is_stop_word(&token.lower)));
        let writes = starting(head).iter().any(|hit| lexicon.name(hit.concept) == "ag.write")
            || is_fix(head.and_then(|n| tokens.get(n)));
        // `According to the agreement, who may approve it?`
        let mut inside = citing.contains(&clause.sentence) || reads(clause, head);
        for n in clause.first..clause.last {
            let lower = tokens.get(n).map_or("", |token| token.lower.as_str());
            let after_text = n > clause.first && (document(n - 1) || is_talk(tokens.get(n - 1)));
            if inside || (writes && head.is_some_and(|head| n > head)) {
                mark(&mut topics, n);
            }
            inside |= match lower {
                "about" | "regarding" | "concerning" | "mention" | "mentions" | "mentioning" | "discuss"
                | "discusses" | "entitled" => true,
                "on" | "covering" | "for" => {
                    after_text && lower != "for"
                        || (lower == "for" && is_talk(n.checked_sub(1).and_then(|n| tokens.get(n))))
                }
                _ => false,
            };
        }
    }
    topics
}

fn is_fix(token: Option<&Token>) -> bool {
    let lower = token.map_or("", |token| token.lower.as_str());
    matches!(
        lower,
        "fix"
            | "implement"
            | "refactor"
            | "rename"
            | "add"
            | "name"
            | "explain"
            | "describe"
            | "turn"
            | "convert"
            | "translate"
    )
}

/// Texts that are written, not read.
fn is_talk(token: Option<&Token>) -> bool {
    let lower = token.map_or("", |token| token.lower.as_str());
    matches!(
        lower,
        "talk"
            | "webinar"
            | "post"
            | "speech"
            | "poem"
            | "slogan"
            | "tagline"
            | "haiku"
            | "story"
            | "headline"
            | "tweet"
            | "ad"
            | "copy"
            | "name"
            | "names"
            | "blurb"
            | "lecture"
            | "workshop"
            | "joke"
            | "limerick"
            | "logo"
            | "banner"
            | "presentation"
            | "course"
            | "quiz"
    )
}

/// What is read stays what is read, and a time stays a time, even where something is spoken about.
pub fn may_be_topic(hit: &Hit) -> bool {
    let name = Lexicon::builtin().name(hit.concept);
    // A schedule is a time of its own (`nightly`), or only the word `schedule`.
    name != "pf.sched"
        && (name.starts_with("lg.")
            || name == "person"
            || name.starts_with("pf.")
            || matches!(name, "ag.write" | "ag.code" | "ag.call"))
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
    static WORDS: OnceLock<QuickSet<&str>> = OnceLock::new();
    WORDS.get_or_init(|| LARGE.split_whitespace().collect()).contains(word)
}
