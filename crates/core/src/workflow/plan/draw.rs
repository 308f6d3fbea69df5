//! A plan as a drawing: text for a terminal, Mermaid for a page.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Plan, PlannedStage};
use crate::id::{SecretName, StageId};

impl Plan {
    /// The stages as a tree: a stage stands under what it waits for, a chain in one column. One that waits for
    /// several stands under the last of them and names the others.
    pub fn to_text(&self) -> String {
        let mut text = self.tree();
        for stage in self.stages.iter().filter(|stage| !stage.secrets.is_empty()) {
            let names: Vec<&str> = stage.secrets.iter().map(SecretName::as_str).collect();
            let _ = writeln!(text, "\n{} needs these secrets at its worker: {}", stage.id, names.join(", "));
        }
        for preview in &self.schedules {
            let _ =
                writeln!(text, "\n{} fires at {} ({}):", preview.stage, preview.schedule, preview.timezone);
            for instant in &preview.next {
                let _ = writeln!(text, "  {instant}");
            }
        }
        if let Some(expected) = &self.overhead {
            text.push_str("\nexpected beside the stages' own work:\n");
            for known in &expected.engines {
                let _ = writeln!(text, "  {}: {}", known.queue(), known.source);
            }
            let (least, most) = (expected.least_ms.round(), expected.most_ms.round());
            let range = if least == most { format!("{most}ms") } else { format!("{least}-{most}ms") };
            let _ = writeln!(text, "  in all: {range} along the longest chain of stages");
        }
        if let Some(workers) = &self.workers {
            text.push_str("\nconnected workers:\n");
            for known in workers {
                let start = known.start.as_ref().map(|how| format!("; start one: {how}")).unwrap_or_default();
                let _ = writeln!(text, "  {}: {}{start}", known.queue(), known.live);
            }
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    /// A Mermaid flow chart.
    pub fn to_mermaid(&self) -> String {
        let mut chart = String::from("flowchart TD\n");
        for (n, stage) in self.stages.iter().enumerate() {
            let kind =
                stage.task_type.as_ref().map(|kind| format!("<br/>{}", escaped(kind))).unwrap_or_default();
            let _ = writeln!(chart, "  s{n}[\"{}<br/><i>{}</i>{kind}\"]", stage.id, stage.queue());
        }
        let by_id = self.by_id();
        for (n, stage) in self.stages.iter().enumerate() {
            let label =
                stage.when.as_ref().map(|when| format!("|\"{}\"|", escaped(when))).unwrap_or_default();
            for from in stage.needs.iter().filter_map(|need| by_id.get(need)) {
                let _ = writeln!(chart, "  s{from} -->{label} s{n}");
            }
        }
        chart
    }

    fn by_id(&self) -> HashMap<&StageId, usize> {
        self.stages.iter().enumerate().map(|(n, stage)| (&stage.id, n)).collect()
    }

    fn tree(&self) -> String {
        let by_id = self.by_id();
        let level =
            |id: &StageId| by_id.get(id).and_then(|n| self.stages.get(*n)).map_or(0, |stage| stage.level);
        let mut children: HashMap<Option<&StageId>, Vec<(&PlannedStage, Option<&StageId>)>> = HashMap::new();
        for stage in &self.stages {
            let parent = stage.needs.iter().max_by_key(|id| level(id));
            children.entry(parent).or_default().push((stage, parent));
        }
        let mut text = String::new();
        let mut waiting: Vec<(&PlannedStage, Option<&StageId>, String, String)> = Vec::new();
        let roots = children.get(&None).into_iter().flatten().rev();
        waiting.extend(roots.map(|(stage, parent)| (*stage, *parent, String::new(), String::new())));
        while let Some((stage, parent, before, below)) = waiting.pop() {
            text.push_str(&before);
            line(stage, parent, &mut text);
            let children = children.get(&Some(&stage.id)).map(Vec::as_slice).unwrap_or_default();
            match children {
                [(child, parent)] => waiting.push((child, *parent, format!("{below}↓ "), below)),
                several => {
                    for (n, (child, parent)) in several.iter().enumerate().rev() {
                        let last = n + 1 == several.len();
                        let (branch, stem) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                        waiting.push((child, *parent, format!("{below}{branch}"), format!("{below}{stem}")));
                    }
                }
            }
        }
        text
    }
}

fn line(stage: &PlannedStage, parent: Option<&StageId>, text: &mut String) {
    let kind = stage.task_type.as_ref().map(|kind| format!(", {}", kind.escape_debug())).unwrap_or_default();
    let _ = write!(text, "{} ({}{kind})", stage.id, stage.queue());
    if let Some(when) = &stage.when {
        let _ = write!(text, " when {}", when.escape_debug());
    }
    if !stage.approvals.is_empty() {
        let _ = write!(text, ", asks for approval at {}", stage.approvals.join(", "));
    }
    if let Some(policy) = &stage.approval {
        let _ = write!(text, ", approved by {}", policy.to_string().escape_debug());
    }
    let others: Vec<&str> =
        stage.needs.iter().filter(|need| Some(*need) != parent).map(StageId::as_str).collect();
    if !others.is_empty() {
        let _ = write!(text, ", also after {}", others.join(", "));
    }
    text.push('\n');
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("#quot;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '#' => escaped.push_str("#35;"),
            '|' => escaped.push_str("#124;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
