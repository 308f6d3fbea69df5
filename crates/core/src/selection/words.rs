//! The words of a task type.
//!
//! A task type is written as people write names: `rag_workflow`, `RAG-Pipeline`, `ragPipeline`, `rag pipeline`. It is
//! cut at everything that is not a letter or digit, and once more where lower case meets upper case; a phrase matches
//! when its stems follow each other in either cut. Stems, not prefixes: `storage` is not `rag`, `docker` is not `doc`.

use rust_stemmers::{Algorithm, Stemmer};

/// Words before a phrase that turn it round: `non_rag`, `no approval`.
const NEGATIONS: [&str; 5] = ["no", "non", "not", "without", "never"];

/// A task type, cut both ways and stemmed.
pub struct TaskType {
    cuts: Vec<Vec<String>>,
}

impl TaskType {
    /// Cuts a text.
    pub fn new(text: &str) -> Self {
        let plain = stems(text);
        let camel = stems(&uncamel(text));
        let cuts = if plain == camel { vec![plain] } else { vec![plain, camel] };
        Self { cuts }
    }

    /// Those of the phrases (and their stems) that it has and does not negate, the longest first, then in the given order.
    pub fn matches(&self, phrases: &[String], stems: &[Vec<String>]) -> Vec<String> {
        let stemmed = phrases.iter().zip(stems);
        let mut found: Vec<&String> =
            stemmed.filter(|(_, stems)| self.has(stems)).map(|(phrase, _)| phrase).collect();
        found.sort_by_key(|phrase| std::cmp::Reverse(phrase.split_whitespace().count()));
        found.into_iter().cloned().collect()
    }

    /// The words as they are written, for building another task type from some of them.
    pub fn words(text: &str) -> Vec<String> {
        uncamel(text)
            .split(|c: char| !c.is_alphanumeric())
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn has(&self, phrase: &[String]) -> bool {
        let at = |cut: &Vec<String>, n: usize| -> bool {
            let before = cut.get(n.saturating_sub(2)..n).unwrap_or_default();
            !before.iter().any(|word| NEGATIONS.contains(&word.as_str()))
        };
        !phrase.is_empty()
            && self
                .cuts
                .iter()
                .any(|cut| cut.windows(phrase.len()).enumerate().any(|(n, w)| w == phrase && at(cut, n)))
    }
}

/// The stems of a text's words, in order.
pub fn stems(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| stem(&stemmer, &word.to_lowercase())).collect()
}

/// The stem of a word in lower case. Unlike the stemmer alone it also takes the plural off an abbreviation (`pdfs`).
pub fn stem(stemmer: &Stemmer, word: &str) -> String {
    match word.strip_suffix('s') {
        Some(rest) if rest.len() > 2 && !rest.contains(['a', 'e', 'i', 'o', 'u', 'y', 's', '\'']) => {
            rest.to_owned()
        }
        _ => stemmer.stem(word).into_owned(),
    }
}

/// A space where lower case meets upper case (`ragPipeline`) and before the last capital of several (`RAGPipeline`).
fn uncamel(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    for (n, &c) in chars.iter().enumerate() {
        let before = n.checked_sub(1).and_then(|n| chars.get(n)).copied().unwrap_or(' ');
        let after = chars.get(n + 1).copied().unwrap_or(' ');
        // `PDFs` is one word.
        let plural = after == 's' && !chars.get(n + 2).is_some_and(|c| c.is_alphanumeric());
        if c.is_uppercase()
            && (before.is_lowercase() || (before.is_uppercase() && after.is_lowercase() && !plural))
        {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, phrases: &[&str]) -> Vec<String> {
        let phrases: Vec<String> = phrases.iter().map(|phrase| (*phrase).to_owned()).collect();
        let stems: Vec<Vec<String>> = phrases.iter().map(|phrase| stems(phrase)).collect();
        TaskType::new(text).matches(&phrases, &stems)
    }

    #[test]
    fn every_spelling_of_a_name_has_the_same_words() {
        for text in [
            "rag_pipeline",
            "RAG-Pipeline",
            "ragPipeline",
            "RagPipeline",
            "RAGPipeline",
            "rag pipeline",
            "RAG.PIPELINES",
        ] {
            assert_eq!(found(text, &["rag"]), ["rag"], "{text}");
        }
        assert_eq!(found("parsePDFs", &["pdf"]), ["pdf"]);
        assert_eq!(found("humanInTheLoop", &["human in the loop"]), ["human in the loop"]);
        assert_eq!(found("Scheduled-Tasks", &["schedule"]), ["schedule"]);
    }

    #[test]
    fn parts_of_words_and_negated_words_are_not_found() {
        for text in [
            "storage",
            "fragment",
            "docker",
            "statement",
            "dragRace",
            "non_rag",
            "no document rag",
            "without-rag",
        ] {
            assert_eq!(found(text, &["rag", "doc", "state"]), Vec::<String>::new(), "{text}");
        }
    }
}
