//! Random workflows: what needs what, under which condition, how often tried, for how long.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastrand::Rng;
use mahavishnu_core::workflow::{Parsed, Workflow};
use serde_json::{Value, json};

/// The engines of the simulated workers.
pub const ENGINES: &[&str] = &["alpha", "beta"];

/// Who asks for everything.
pub const REQUESTER: &str = "ann";
/// Who is on lists.
const APPROVERS: &[&str] = &[REQUESTER, "ada", "bob"];
/// Whoever decides: those on lists, somebody else, somebody without a name.
pub const PEOPLE: &[&str] = &[REQUESTER, "ada", "bob", "eve", ""];

/// A workflow of up to six stages.
pub fn random(rng: &mut Rng) -> Arc<Workflow> {
    let mut stages = Vec::new();
    for n in 0..rng.usize(1..=6) {
        let wanted = if n == 0 { 0 } else { rng.usize(..3) };
        let needs: BTreeSet<String> = (0..wanted).map(|_| format!("s{}", rng.usize(..n))).collect();
        let mut stage = json!({
            "id": format!("s{n}"),
            "type": ENGINES[rng.usize(..ENGINES.len())],
            "task": {},
            "needs": needs,
            "retry": {"max_attempts": rng.u32(1..5)},
        });
        let when = match (rng.u32(..8), needs.first()) {
            (0, _) => Some("false".to_owned()),
            (1, Some(need)) => Some(format!("stages.{need}.output.n == 0")),
            (2, Some(need)) => Some(format!("stages.{need}.state == 'skipped'")),
            _ => None,
        };
        if rng.u32(..4) == 0 {
            stage["timeout"] = json!("20s");
        }
        if rng.u32(..3) == 0 {
            stage["approval"] = policy(rng);
        }
        if let Some(when) = when {
            stage["when"] = json!(when);
        } else if let Some(need) = needs.first().filter(|_| rng.u32(..4) == 0) {
            stage["task"] = json!({"seen": format!("${{{{ stages.{need}.output.n }}}}")});
        }
        stages.push(stage);
    }
    rng.shuffle(&mut stages);
    let mut value: Value = json!({"stages": stages});
    if rng.u32(..4) == 0 {
        value["timeout"] = json!("30m");
    }
    let checked = Parsed::json(value.to_string().as_bytes()).check(&ENGINES);
    Arc::new(checked.unwrap_or_else(|violations| panic!("{violations}: {value}")))
}

/// Who may decide, how many it takes, and until when.
fn policy(rng: &mut Rng) -> Value {
    let mut policy = json!({
        "quorum": rng.u32(1..=2),
        "exclude_requester": rng.bool(),
        "require_reason": rng.u32(..4) == 0,
    });
    if rng.bool() {
        policy["approvers"] = json!(APPROVERS);
    }
    if rng.bool() {
        policy["timeout"] = json!("15s");
        policy["on_timeout"] = json!(if rng.bool() { "approve" } else { "reject" });
    }
    policy
}
