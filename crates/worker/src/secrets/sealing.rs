//! Checkpoints without the secrets that are in them.
//!
//! A checkpoint is in its engine's own form, of which we know nothing, and must come back as it was. So each secret in it is
//! exchanged for a stand-in of the same length, and back when it is read: forms that count bytes stay what they are.
//!
//! Invariants: a stand-in tells nothing of the value but its length. Nobody knows it before it is made, so nothing that an
//! engine was given can hold one, and what is exchanged back was a secret.

use mahavishnu_core::id::SecretName;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Values;
use super::redactor::escaped;

/// What a sealed checkpoint begins with.
const MARK: &[u8] = b"\0mahavishnu sealed\0";
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Seals and opens the checkpoints of one attempt.
#[derive(Clone, Default)]
pub struct Sealing(Values);

/// A sealed checkpoint cannot be opened: a secret in it is not the attempt's any more, or has another length.
#[derive(Debug, thiserror::Error)]
#[error(
    "secret {0} is in the checkpoint, and its value has another length now or the task does not name it any more"
)]
pub struct Changed(SecretName);

/// What is needed beside the values to open a checkpoint.
#[derive(Serialize, Deserialize)]
struct Seal {
    nonce: String,
    /// Name, form and length of each stand-in.
    stands_for: Vec<(SecretName, usize, usize)>,
}

impl Sealing {
    /// With the secrets of an attempt.
    pub const fn new(values: Values) -> Self {
        Self(values)
    }

    /// The values of the secrets.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// The checkpoint as it may be stored.
    pub fn seal(&self, mut body: Vec<u8>) -> Vec<u8> {
        let mut seal = Seal { nonce: uuid::Uuid::new_v4().simple().to_string(), stands_for: Vec::new() };
        // The longest first: one may be a part of another.
        let mut values: Vec<_> = self.0.iter().collect();
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        for (name, value) in values {
            for (number, form) in forms(value).iter().enumerate() {
                if exchange(&mut body, form.as_bytes(), &seal.stand_in(name, number, form.len())) {
                    seal.stands_for.push((name.clone(), number, form.len()));
                }
            }
        }
        match serde_json::to_vec(&seal) {
            Ok(head) if !seal.stands_for.is_empty() => [MARK, &head, b"\0", &body].concat(),
            _ => body,
        }
    }

    /// The checkpoint as the engine made it.
    ///
    /// # Errors
    /// When that cannot be known any more.
    pub fn open(&self, stored: Vec<u8>) -> Result<Vec<u8>, Changed> {
        let Some(sealed) = stored.strip_prefix(MARK) else { return Ok(stored) };
        let end = sealed.iter().position(|byte| *byte == 0).unwrap_or(sealed.len());
        let (head, body) = sealed.split_at(end);
        let Ok(seal) = serde_json::from_slice::<Seal>(head) else { return Ok(stored) };
        let mut body = body.get(1..).unwrap_or_default().to_vec();
        for (name, number, length) in &seal.stands_for {
            let forms = self.0.get(name).map(|value| forms(value)).unwrap_or_default();
            let form = forms.get(*number).filter(|form| form.len() == *length);
            let form = form.ok_or_else(|| Changed(name.clone()))?;
            exchange(&mut body, &seal.stand_in(name, *number, *length), form.as_bytes());
        }
        Ok(body)
    }
}

impl Seal {
    fn stand_in(&self, name: &SecretName, form: usize, length: usize) -> Vec<u8> {
        let digest = |block: usize| Sha256::digest(format!("{} {name} {form} {block}", self.nonce));
        let letter = |byte: u8| ALPHABET.get(usize::from(byte) % ALPHABET.len()).copied().unwrap_or(b'A');
        (0..).flat_map(digest).map(letter).take(length).collect()
    }
}

/// The value as engines write it: itself, in JSON, and in JSON within JSON. In this order, each place is found once: where
/// the forms do not differ the later ones have nothing left to find.
fn forms(value: &str) -> Vec<String> {
    let once = escaped(value);
    let twice = once.iter().flat_map(|form| escaped(form)).collect();
    [vec![value.to_owned()], once, twice].concat()
}

/// Exchanges all occurrences for something of the same length; whether there was one.
fn exchange(body: &mut [u8], from: &[u8], to: &[u8]) -> bool {
    let found: Vec<usize> = memchr::memmem::find_iter(body, from).collect();
    for start in &found {
        if let Some(place) = body.get_mut(*start..start + from.len()) {
            place.copy_from_slice(to);
        }
    }
    !found.is_empty()
}
