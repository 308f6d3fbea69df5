//! The engines that a deployment knows.

use std::sync::OnceLock;

use serde_json::Value;

use super::profile::{Complexity, Overhead, Profile, SetupTime};
use super::reader::Reader;
use crate::id::{EngineName, Queue};
use crate::selection::words::stems;
use crate::violation::{Reason, Violations};

/// Largest engine file, in bytes.
pub const MAX_FILE_BYTES: usize = 256 * 1024;

/// Most engines in one registry; each costs every Select and Recommend some time.
const MAX_ENGINES: usize = 64;

/// Most phrases of one engine.
const MAX_WORDS: usize = 512;

/// How near a misspelt name must be to be named as the nearest, from 0 to 1.
const NEAR: f64 = 0.75;

const BUILTIN: &str = include_str!("../../data/engines.yaml");

/// The known engines and the quick reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    profiles: Vec<Profile>,
    guide: Vec<(String, EngineName)>,
}

impl Registry {
    /// The four engines that come with the program.
    pub fn builtin() -> Self {
        static PARSED: OnceLock<Registry> = OnceLock::new();
        let empty = || Self { profiles: Vec::new(), guide: Vec::new() };
        // The file is compiled in and a test reads it, so the empty registry is never seen.
        PARSED.get_or_init(|| empty().overlay(BUILTIN, true).unwrap_or_else(|_| empty())).clone()
    }

    /// This registry with the engines of a deployment's file added, or laid over those of the same name.
    ///
    /// The file is YAML or JSON (see the README beside this module). An engine that is already known keeps what the
    /// file does not say; a new one must say `name` and `words`.
    pub fn with_file(&self, text: &str) -> Result<Self, Violations> {
        self.overlay(text, false)
    }

    /// The profile of an engine.
    pub fn get(&self, name: &EngineName) -> Option<&Profile> {
        self.find(name.as_str())
    }

    /// The profile of the engine of this name, if the text is one.
    pub fn find(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name.as_str() == name)
    }

    /// How a worker of an engine, or of a pool of it, is started, as its file says or with this program.
    pub fn worker(&self, queue: &Queue) -> String {
        let said = self.get(&queue.engine).and_then(|profile| profile.worker.clone());
        let command = said.unwrap_or_else(|| format!("mahavishnu worker {}", queue.engine));
        match &queue.pool {
            None => command,
            Some(pool) => format!("{command} --pool {pool}"),
        }
    }

    /// All profiles: agno, langgraph, llamaindex, prefect, then added ones as they came.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.iter()
    }

    /// The known name nearest to a misspelt one; none when nothing is near.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let name: String = name.chars().take(crate::id::MAX_LENGTH).flat_map(char::to_lowercase).collect();
        let near = |profile: &Profile| {
            let display = profile.display_name.to_lowercase();
            strsim::jaro_winkler(&name, profile.name.as_str()).max(strsim::jaro_winkler(&name, &display))
        };
        let scored = self.profiles.iter().map(|profile| (near(profile), profile.name.as_str()));
        scored.filter(|(score, _)| *score >= NEAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
    }

    /// The quick reference.
    pub fn guide(&self) -> &[(String, EngineName)] {
        &self.guide
    }

    fn overlay(&self, text: &str, builtin: bool) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        if text.len() > MAX_FILE_BYTES {
            violations.push(
                "",
                Reason::TooLarge,
                format!("an engine file has at most {MAX_FILE_BYTES} bytes"),
            );
            return Err(violations);
        }
        let value: Value = match serde_saphyr::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                violations.push(
                    "",
                    Reason::Malformed,
                    format!("is not YAML or JSON: {}", first_line(&error)),
                );
                return Err(violations);
            }
        };
        let mut registry = self.clone();
        registry.read_file(&value, builtin, &mut violations);
        violations.into_result(registry)
    }

    fn read_file(&mut self, value: &Value, builtin: bool, violations: &mut Violations) {
        let Some(mut file) = Reader::open("", value, &["engines", "guide"], violations) else { return };
        file.require("engines");
        let engines = file.get("engines");
        let guide = file.get("guide");
        let mut seen: Vec<EngineName> = Vec::new();
        for (n, item) in list(engines, "engines", violations).iter().enumerate() {
            let path = format!("engines[{n}]");
            let Some(profile) = self.read_engine(&path, item, builtin, violations) else { continue };
            if seen.contains(&profile.name) {
                violations.push(
                    format!("{path}.name"),
                    Reason::Duplicate,
                    format!("{} is there twice", profile.name),
                );
            }
            seen.push(profile.name.clone());
            match self.profiles.iter_mut().find(|known| known.name == profile.name) {
                Some(known) => *known = profile,
                None => self.profiles.push(profile),
            }
        }
        if self.profiles.len() > MAX_ENGINES {
            violations.push(
                "engines",
                Reason::TooLarge,
                format!("a deployment has at most {MAX_ENGINES} engines"),
            );
        }
        for (n, item) in list(guide, "guide", violations).iter().enumerate() {
            self.read_guide_entry(&format!("guide[{n}]"), item, violations);
        }
    }

    fn read_engine(
        &self,
        path: &str,
        value: &Value,
        builtin: bool,
        violations: &mut Violations,
    ) -> Option<Profile> {
        const KNOWN: [&str; 15] = [
            "name",
            "display_name",
            "complexity",
            "stateful",
            "routing",
            "scheduling",
            "strengths",
            "weaknesses",
            "best_for",
            "avoid_for",
            "overhead",
            "worker",
            "words",
            "ask",
            "rank",
        ];
        let mut engine = Reader::open(path, value, &KNOWN, violations)?;
        engine.require("name");
        let text = engine.text("name")?;
        let name = match EngineName::parse(&text) {
            Ok(name) => name,
            Err(error) => {
                let at = engine.at("name");
                engine.violations().push(at, Reason::InvalidValue, error.to_string());
                return None;
            }
        };
        let known = self.get(&name);
        if known.is_none() {
            engine.require("words");
        }
        let mut profile = known.cloned().unwrap_or_else(|| blank(name));
        profile.builtin = builtin || known.is_some_and(|known| known.builtin);
        set(&mut profile.display_name, engine.text("display_name"));
        set(&mut profile.stateful, engine.flag("stateful"));
        set(&mut profile.routing, engine.flag("routing"));
        set(&mut profile.scheduling, engine.flag("scheduling"));
        set(&mut profile.strengths, engine.texts("strengths"));
        set(&mut profile.weaknesses, engine.texts("weaknesses"));
        set(&mut profile.best_for, engine.texts("best_for"));
        set(&mut profile.avoid_for, engine.texts("avoid_for"));
        set(&mut profile.words, engine.texts("words"));
        let shipped = if builtin { None } else { Self::builtin().get(&profile.name).cloned() };
        if let Some(shipped) = shipped {
            profile.given = without(&profile.words, &shipped.words);
            profile.taken = without(&shipped.words, &profile.words);
        }
        profile.stems = profile.words.iter().map(|phrase| stems(phrase)).collect();
        set(&mut profile.ask, engine.number("ask"));
        set(&mut profile.rank, engine.number("rank"));
        if let Some(worker) = engine.text("worker") {
            profile.worker = Some(worker);
        }
        if let Some(text) = engine.text("complexity") {
            match text.to_lowercase().as_str() {
                "low" => profile.complexity = Complexity::Low,
                "medium" => profile.complexity = Complexity::Medium,
                "high" => profile.complexity = Complexity::High,
                _ => {
                    let at = engine.at("complexity");
                    engine.violations().push(at, Reason::InvalidValue, "must be low, medium or high");
                }
            }
        }
        if profile.words.len() > MAX_WORDS {
            let at = engine.at("words");
            engine.violations().push(at, Reason::TooLarge, format!("at most {MAX_WORDS} phrases"));
        }
        let at = engine.at("overhead");
        if let Some(value) = engine.get("overhead") {
            profile.overhead = read_overhead(&at, value, engine.violations());
        }
        Some(profile)
    }

    fn read_guide_entry(&mut self, path: &str, value: &Value, violations: &mut Violations) {
        let Some(mut entry) = Reader::open(path, value, &["task", "engine"], violations) else { return };
        entry.require("task");
        entry.require("engine");
        let (Some(task), Some(text)) = (entry.text("task"), entry.text("engine")) else { return };
        let Some(engine) = self.find(&text).map(|profile| profile.name.clone()) else {
            let at = entry.at("engine");
            entry.violations().push(at, Reason::UnknownEngine, format!("{text:?} is not a known engine"));
            return;
        };
        match self.guide.iter_mut().find(|(known, _)| *known == task) {
            Some(known) => known.1 = engine,
            None => self.guide.push((task, engine)),
        }
    }
}

/// Those of the phrases that are not among the others.
fn without(phrases: &[String], others: &[String]) -> Vec<String> {
    phrases.iter().filter(|phrase| !others.contains(phrase)).cloned().collect()
}

/// What an engine is when its file says no more than its name. It is asked before the built-in ones, because whoever
/// adds an engine names words that are more special than theirs, and acts last in a hybrid plan.
fn blank(name: EngineName) -> Profile {
    Profile {
        display_name: name.to_string(),
        name,
        complexity: Complexity::Medium,
        stateful: false,
        routing: false,
        scheduling: false,
        strengths: Vec::new(),
        weaknesses: Vec::new(),
        best_for: Vec::new(),
        avoid_for: Vec::new(),
        overhead: None,
        worker: None,
        words: Vec::new(),
        given: Vec::new(),
        taken: Vec::new(),
        stems: Vec::new(),
        ask: 0,
        rank: 50,
        builtin: false,
    }
}

fn read_overhead(path: &str, value: &Value, violations: &mut Violations) -> Option<Overhead> {
    let mut overhead = Reader::open(path, value, &["setup_ms", "runtime", "overhead", "note"], violations)?;
    for key in ["setup_ms", "runtime", "overhead"] {
        overhead.require(key);
    }
    let (runtime, level, note) = (overhead.text("runtime"), overhead.text("overhead"), overhead.text("note"));
    let at = overhead.at("setup_ms");
    let value = overhead.get("setup_ms")?;
    let mut setup = Reader::open(&at, value, &["min", "max"], overhead.violations())?;
    setup.require("max");
    let setup_ms = SetupTime { min: setup.number("min"), max: setup.number("max")? };
    Some(Overhead { setup_ms, runtime: runtime?, overhead: level?, note })
}

fn list<'a>(value: Option<&'a Value>, path: &str, violations: &mut Violations) -> &'a [Value] {
    match value {
        None => &[],
        Some(Value::Array(items)) => items,
        Some(_) => {
            violations.push(path, Reason::WrongType, "must be a list");
            &[]
        }
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(200).collect()
}
