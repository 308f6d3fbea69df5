//! Select: what a task requires goes in, the engine for it comes out, with the rule that fired.
//!
//! The tree, in this order:
//! 1. The task must run on a schedule: an engine that schedules.
//! 2. It must keep state or route by conditions: an engine that does.
//! 3. The task type names a kind of work: the engine that is asked for these words first.
//! 4. Otherwise the first registered engine, which is the simplest.
//!
//! Where several engines pass a question, the one that meets most of what is required wins, then the one whose words
//! the task type has, then the one registered first. A requirement always beats words, and the clock beats state,
//! because only a scheduler can start the work, while any engine can be a later stage. What the chosen engine does not
//! meet is listed, and the hybrid plan has an engine for each need. The README has the table of conflicts.
//!
//! Invariants: a pure function; case and separators of the task type change nothing; every need is met by some stage
//! of the hybrid plan unless no registered engine meets it; the flip, asked again, gives the engine that it says.

mod flip;
pub(crate) mod words;

use serde::Serialize;

use crate::engine::{Profile, Registry, Requirement};
use crate::id::EngineName;
use crate::violation::{Reason, Violations};

pub use flip::{Change, Flip};

/// Longest task type, in bytes.
pub const MAX_TASK_TYPE_BYTES: usize = 16 * 1024;

/// What a task is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The kind of task in words: `rag_workflow`, `approval workflow`, `batchJob`.
    pub task_type: String,
    /// It must keep state.
    pub requires_state: bool,
    /// It must route by conditions.
    pub requires_routing: bool,
    /// It must run on a schedule.
    pub requires_scheduling: bool,
}

impl Request {
    /// Whether it requires this.
    pub const fn requires(&self, requirement: Requirement) -> bool {
        match requirement {
            Requirement::Scheduling => self.requires_scheduling,
            Requirement::State => self.requires_state,
            Requirement::Routing => self.requires_routing,
        }
    }
}

/// The question of the tree that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The task must run on a schedule.
    RequiresScheduling,
    /// The task must keep state or route by conditions.
    RequiresStateOrRouting,
    /// The task type has the words of an engine.
    TaskTypeWords,
    /// Nothing asks for more than the simplest engine.
    Default,
}

/// One question on the way through the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The rule that the question belongs to.
    pub rule: Rule,
    /// The question.
    pub question: String,
    /// Whether the answer was yes; the last step of a path is the only yes.
    pub yes: bool,
    /// Why.
    pub because: String,
}

/// Something that the task needs: a requirement, or what a word of the task type asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// `scheduling`, `state`, `routing`, or `task type: rag`.
    pub need: String,
    /// The engines that meet it, in the order of the registry.
    pub met_by: Vec<EngineName>,
}

/// An engine that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunnerUp {
    /// The engine.
    pub engine: EngineName,
    /// Needs that it would meet.
    pub meets: Vec<String>,
    /// Needs that it would not meet.
    pub lacks: Vec<String>,
}

/// A stage of the hybrid plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStage {
    /// The engine.
    #[serde(rename = "type")]
    pub engine: EngineName,
    /// The needs that it meets.
    pub meets: Vec<String>,
}

/// The engine for a task, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// The engine.
    pub engine: EngineName,
    /// The rule that fired.
    pub rule: Rule,
    /// The rule as a sentence.
    pub because: String,
    /// The way through the tree.
    pub path: Vec<Step>,
    /// The other engines, the best first.
    pub runners_up: Vec<RunnerUp>,
    /// Needs that the chosen engine does not meet.
    pub unmet: Vec<Need>,
    /// No registered engine meets all needs alone.
    pub needs_hybrid: bool,
    /// Stages that together meet every need that some engine meets, in order.
    pub hybrid_plan: Vec<PlannedStage>,
    /// The smallest change of the request that gives another engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<Flip>,
}

/// Chooses the engine for a task.
pub fn select(registry: &Registry, request: &Request) -> Result<Selection, Violations> {
    check(request)?;
    let required =
        Requirement::ALL.into_iter().filter(|requirement| request.requires(*requirement)).collect();
    let case = Case { required, engines: &worded(registry, &request.task_type) };
    let Some((choice, rule)) = case.choose() else {
        let mut violations = Violations::default();
        violations.push("", Reason::UnknownEngine, "no engine is registered");
        return Err(violations);
    };
    let needs = case.needs();
    let meets = |profile: &Profile| -> Vec<String> {
        needs
            .iter()
            .filter(|need| need.met_by.contains(&profile.name))
            .map(|need| need.need.clone())
            .collect()
    };
    let unmet: Vec<Need> = needs.iter().filter(|need| !need.met_by.contains(&choice.name)).cloned().collect();
    let mut runners_up: Vec<(&Profile, Vec<String>)> =
        registry.profiles().filter(|profile| profile.name != choice.name).map(|p| (p, meets(p))).collect();
    runners_up.sort_by_key(|(profile, meets)| (std::cmp::Reverse(meets.len()), profile.ask));
    let runners_up = runners_up.into_iter().map(|(profile, meets)| RunnerUp {
        engine: profile.name.clone(),
        lacks: needs.iter().map(|need| need.need.clone()).filter(|need| !meets.contains(need)).collect(),
        meets,
    });
    let path = case.path(choice, rule);
    Ok(Selection {
        engine: choice.name.clone(),
        rule,
        because: path.last().map(|step| step.because.clone()).unwrap_or_default(),
        path,
        runners_up: runners_up.collect(),
        needs_hybrid: !registry.profiles().any(|profile| meets(profile).len() == needs.len()),
        hybrid_plan: hybrid_plan(registry, choice, &needs),
        unmet,
        flip: flip::smallest(registry, request, &case, &choice.name),
    })
}

fn check(request: &Request) -> Result<(), Violations> {
    let mut violations = Violations::default();
    if request.task_type.len() > MAX_TASK_TYPE_BYTES {
        violations.push("task_type", Reason::TooLarge, format!("has more than {MAX_TASK_TYPE_BYTES} bytes"));
    } else if request.task_type.trim().is_empty() {
        violations.push("task_type", Reason::Required, "say what kind of task it is, such as rag_workflow");
    }
    violations.into_result(())
}

/// Each engine with those of its words that a task type has, in the order of the registry.
type Worded<'a> = Vec<(&'a Profile, Vec<String>)>;

fn worded<'a>(registry: &'a Registry, task_type: &str) -> Worded<'a> {
    let task_type = words::TaskType::new(task_type);
    let of = |profile: &'a Profile| (profile, task_type.matches(&profile.words, &profile.stems));
    registry.profiles().map(of).collect()
}

/// What is required, and the words.
struct Case<'c, 'a> {
    required: Vec<Requirement>,
    engines: &'c [(&'a Profile, Vec<String>)],
}

/// The rules that look at requirements, with their question and what they look at.
const REQUIRING: [(Rule, &str, &[Requirement]); 2] = [
    (Rule::RequiresScheduling, "must it run on a schedule?", &[Requirement::Scheduling]),
    (
        Rule::RequiresStateOrRouting,
        "must it keep state or route by conditions?",
        &[Requirement::State, Requirement::Routing],
    ),
];

impl<'a> Case<'_, 'a> {
    /// The engine and the rule that gives it; none when no engine is registered.
    fn choose(&self) -> Option<(&'a Profile, Rule)> {
        for (rule, _, asked) in REQUIRING {
            if let Some(profile) = self.best(asked) {
                return Some((profile, rule));
            }
        }
        if let Some((profile, _)) = self.named() {
            return Some((profile, Rule::TaskTypeWords));
        }
        self.engines.first().map(|(profile, _)| (*profile, Rule::Default))
    }

    /// The way to this choice.
    fn path(&self, choice: &Profile, decided: Rule) -> Vec<Step> {
        let mut path = Vec::new();
        for (rule, question, asked) in REQUIRING {
            let names: Vec<_> = self.asked(asked).map(Requirement::name).collect();
            let (yes, names) = (rule == decided, names.join(" and "));
            let because = match (names.as_str(), yes) {
                ("", _) => "not required".to_owned(),
                (_, true) => format!("{names} is required, and {} meets it", choice.display_name),
                (_, false) => format!("{names} is required, but no registered engine meets it"),
            };
            path.push(Step { rule, question: question.to_owned(), yes, because });
            if yes {
                return path;
            }
        }
        let question = "does the task type have the words of an engine?".to_owned();
        if let Some((_, words)) = self.named() {
            let because =
                format!("the task type has {}, which asks for {}", quote(words), choice.display_name);
            path.push(Step { rule: Rule::TaskTypeWords, question, yes: true, because });
            return path;
        }
        let because = "it has none that a registered engine asks for".to_owned();
        path.push(Step { rule: Rule::TaskTypeWords, question, yes: false, because });
        let because = format!("nothing asks for more than {}, the simplest", choice.display_name);
        let question = "is the simplest engine enough?".to_owned();
        path.push(Step { rule: Rule::Default, question, yes: true, because });
        path
    }

    /// Those of the requirements that are required.
    fn asked(&self, of: &[Requirement]) -> impl Iterator<Item = Requirement> {
        of.iter().copied().filter(|requirement| self.required.contains(requirement))
    }

    /// The engine that is asked for first by words of the task type.
    fn named(&self) -> Option<&(&'a Profile, Vec<String>)> {
        self.engines.iter().filter(|(_, words)| !words.is_empty()).min_by_key(|(profile, _)| profile.ask)
    }

    /// Among the engines that meet one of these, if it is required: most requirements met, then words, then the order of
    /// the registry.
    fn best(&self, asked: &[Requirement]) -> Option<&'a Profile> {
        let pass = |profile: &Profile| self.asked(asked).any(|requirement| profile.meets(requirement));
        let value = |(profile, words): &&(&Profile, Vec<String>)| {
            let met = self.required.iter().filter(|requirement| profile.meets(**requirement));
            (met.count(), !words.is_empty())
        };
        // `max_by_key` keeps the last of equals, so it walks backwards to keep the first.
        self.engines
            .iter()
            .filter(|(profile, _)| pass(profile))
            .rev()
            .max_by_key(value)
            .map(|(profile, _)| *profile)
    }

    /// Everything that the task needs. Words of the simplest engine ask for nothing that others could not give.
    fn needs(&self) -> Vec<Need> {
        let required = self.required.iter().map(|requirement| Need {
            need: requirement.name().to_owned(),
            met_by: self.names(|profile, _| profile.meets(*requirement)),
        });
        let mut needs: Vec<Need> = required.collect();
        for (n, (profile, words)) in self.engines.iter().enumerate() {
            let Some(word) = words.first().filter(|_| n > 0) else { continue };
            let met_by = self.names(|other, words| other.name == profile.name || words.contains(word));
            needs.push(Need { need: format!("task type: {word}"), met_by });
        }
        needs
    }

    fn names(&self, pass: impl Fn(&Profile, &[String]) -> bool) -> Vec<EngineName> {
        self.engines
            .iter()
            .filter(|(profile, words)| pass(profile, words))
            .map(|(p, _)| p.name.clone())
            .collect()
    }
}

/// The chosen engine, and for each need that it does not meet one that does: the one that meets most of what is left.
fn hybrid_plan(registry: &Registry, choice: &Profile, needs: &[Need]) -> Vec<PlannedStage> {
    let mut left: Vec<&Need> = needs.iter().filter(|need| !need.met_by.contains(&choice.name)).collect();
    let mut chosen = vec![choice];
    loop {
        let count =
            |profile: &Profile| left.iter().filter(|need| need.met_by.contains(&profile.name)).count();
        // The first of those that meet most; `max_by_key` alone would give the last.
        let best = registry.profiles().min_by_key(|profile| std::cmp::Reverse(count(profile)));
        let Some(best) = best.filter(|profile| count(profile) > 0) else { break };
        left.retain(|need| !need.met_by.contains(&best.name));
        chosen.push(best);
    }
    chosen.sort_by_key(|profile| profile.rank);
    let stage = |profile: &&Profile| PlannedStage {
        engine: profile.name.clone(),
        meets: needs
            .iter()
            .filter(|need| need.met_by.contains(&profile.name))
            .map(|need| need.need.clone())
            .collect(),
    };
    chosen.iter().map(stage).collect()
}

fn quote(words: &[String]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}
