//! Corrects misspelt words to the nearest word of the lexicon.
//!
//! A word is corrected only when it is no word that is known to be right, neither of the lexicon nor of the list of
//! common words that look like one (`contact` is not `contract`). That list is data, made by `examples/confusable.rs`.

use std::sync::OnceLock;

use super::hash::QuickSet;
use super::lexicon::Lexicon;

const CONFUSABLE: &str = include_str!("../../data/confusable.txt");

/// Words that order and negation hang on, which may be misspelt as well.
const CUES: &str = "before after then until unless without afterwards finally first never cannot needed required necessary \
    following provided once every while";

struct Speller {
    known: QuickSet<&'static str>,
    target: QuickSet<&'static str>,
    /// Words to correct to, by first letter: the word, its letters as bits.
    targets: Vec<Vec<(&'static str, u32)>>,
}

/// The word that a misspelt one stands for; none when the word is right, or nothing is near.
pub fn correct(word: &str) -> Option<&'static str> {
    let speller = speller();
    if word.len() < 4
        || word.len() > 24
        || !word.bytes().all(|b| b.is_ascii_lowercase())
        || speller.is_known(word)
    {
        return None;
    }
    nearest(speller, word)
        .or_else(|| inflections(word).filter(|base| base.len() > 3).find_map(|base| nearest(speller, base)))
}

/// Whether a word could be taken for a misspelt one, for making the list of common words that must not be.
pub fn is_confusable(word: &str) -> bool {
    let speller = speller();
    let near = |word: &str| nearest(speller, word).is_some();
    word.bytes().all(|b| b.is_ascii_lowercase())
        && !speller.is_target(word)
        && (near(word) || inflections(word).any(near))
}

fn nearest(speller: &'static Speller, word: &str) -> Option<&'static str> {
    let letters = letters(word);
    let mut best: Option<(usize, &'static str)> = None;
    let swapped = word.as_bytes().get(1).copied();
    for first in word.as_bytes().first().copied().into_iter().chain(swapped) {
        for (target, bits) in speller.targets.get(usize::from(first.wrapping_sub(b'a'))).into_iter().flatten()
        {
            let allowed = allowed(word.len(), target.len());
            if (letters ^ bits).count_ones() as usize > 2 * allowed
                || word.len().abs_diff(target.len()) > allowed
            {
                continue;
            }
            let distance = strsim::osa_distance(word, target);
            // Of four letters only two that changed places are believed.
            if word.len() == 4 && target.len() == 4 && letters != *bits {
                continue;
            }
            if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, target));
            }
        }
    }
    best.map(|(_, target)| target)
}

/// How many slips are believed: short words are too near to each other.
fn allowed(word: usize, target: usize) -> usize {
    match (word, target) {
        (..=3, _) | (_, ..=3) => 0,
        (4..=7, _) => 1,
        _ => 2,
    }
}

fn letters(word: &str) -> u32 {
    word.bytes().fold(0, |bits, b| bits | 1 << (b.wrapping_sub(b'a') & 31))
}

impl Speller {
    fn is_known(&self, word: &str) -> bool {
        self.known.contains(word)
            || self.is_target(word)
            || inflections(word).any(|base| self.is_target(base))
    }

    fn is_target(&self, word: &str) -> bool {
        self.target.contains(word)
    }
}

/// What is left without a common ending.
fn inflections(word: &str) -> impl Iterator<Item = &str> {
    ["s", "es", "d", "ed", "ing", "er", "ers", "r", "rs", "ly"]
        .into_iter()
        .filter_map(|ending| word.strip_suffix(ending))
}

fn speller() -> &'static Speller {
    static SPELLER: OnceLock<Speller> = OnceLock::new();
    SPELLER.get_or_init(|| {
        let mut targets = vec![Vec::new(); 26];
        let mut target = QuickSet::default();
        for word in Lexicon::builtin().words().chain(CUES.split_whitespace()) {
            let fits = word.len() > 3 && word.bytes().all(|b| b.is_ascii_lowercase());
            let first = word.bytes().next().unwrap_or_default().wrapping_sub(b'a');
            if fits
                && target.insert(word)
                && let Some(bucket) = targets.get_mut(usize::from(first))
            {
                bucket.push((word, letters(word)));
            }
        }
        Speller { known: CONFUSABLE.split_whitespace().collect(), target, targets }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_corrected() {
        for (slip, word) in [
            ("aproval", "approval"),
            ("documnet", "document"),
            ("shedule", "schedule"),
            ("nighlty", "nightly"),
            ("contarct", "contract"),
            ("summarze", "summarize"),
            ("evry", "every"),
            ("befroe", "before"),
        ] {
            assert_eq!(correct(slip), Some(word));
        }
    }

    #[test]
    fn right_words_are_left_alone() {
        for word in [
            "contact",
            "contracts",
            "approved",
            "storage",
            "fragment",
            "statement",
            "retrial",
            "zzzzzz",
            "größe",
            "a",
        ] {
            assert_eq!(correct(word), None, "{word}");
        }
    }
}
