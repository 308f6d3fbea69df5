//! What the stages gave, for reading: the telling parts of each output, the rest is in `--json`.

use mahavishnu_proto::json;
use mahavishnu_proto::v1::Error;
use prost_types::Struct;
use serde_json::{Map, Value};

use super::{Paint, table, words};

/// Lines of one text, rows of one table, items of one list.
const MOST_LINES: usize = 12;
const MOST_ROWS: usize = 8;
const MOST_ITEMS: usize = 6;
/// Texts are easier to read in narrower columns.
const WIDEST: usize = 100;
const INDENT: &str = "  ";

/// One stage's output under its heading.
pub fn stage(id: &str, engine: &str, output: &Map<String, Value>, paint: Paint) -> Vec<String> {
    let model = match output.get("model").and_then(Value::as_str) {
        Some(model) => format!(", model {}", words::short(model)),
        None => String::new(),
    };
    let mut lines = vec![format!("{} {}", paint.strong(id), paint.faint(format!("({engine}{model})")))];
    lines.extend(body(output, paint).into_iter().map(|line| format!("{INDENT}{line}")));
    lines
}

/// The outputs of all stages, in order.
pub fn stages<'a>(
    stages: impl IntoIterator<Item = (&'a str, &'a str, &'a Struct)>,
    paint: Paint,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, engine, output) in stages {
        lines.push(String::new());
        lines.extend(stage(id, engine, &json::from_struct(output.clone()), paint));
    }
    lines
}

/// Why stages failed, at length.
pub fn failures<'a>(
    failed: impl IntoIterator<Item = (&'a str, &'a str, &'a Error)>,
    paint: Paint,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, engine, error) in failed {
        let field = if error.field.is_empty() {
            String::new()
        } else {
            format!(", in {}", words::short(&error.field))
        };
        let heading = format!("failed: {}{field}", words::short(&error.reason));
        lines.push(String::new());
        lines.push(format!(
            "{} {} {}",
            paint.strong(id),
            paint.faint(format!("({engine})")),
            paint.bad(heading)
        ));
        lines.extend(wrapped(&error.message).into_iter().map(|line| format!("{INDENT}{line}")));
    }
    lines
}

/// Any JSON as indented `key: value` lines, shortened.
pub fn value(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            members.iter().take(MOST_LINES).flat_map(|(key, value)| member(key, value)).collect()
        }
        Value::Array(items) => {
            let shown = items.iter().take(MOST_ITEMS).flat_map(item);
            shown.chain(more(items.len(), MOST_ITEMS)).collect()
        }
        Value::String(text) => wrapped(text),
        other => vec![other.to_string()],
    }
}

fn body(output: &Map<String, Value>, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let text = |key: &str| output.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    for key in ["answer", "content", "summary"] {
        if let Some(text) = text(key) {
            lines.extend(wrapped(text));
        }
    }
    for answer in list(output, "answers") {
        let part = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
        lines.push(paint.strong(words::short(part("question"))));
        lines.extend(wrapped(part("answer")));
        lines.extend(sources(answer).map(|source| paint.faint(source)));
    }
    lines.extend(sources(&Value::Object(output.clone())).map(|source| paint.faint(source)));
    if let Some(generated) = text("generated") {
        lines.push(paint.faint("in the model's own words:"));
        lines.extend(wrapped(generated).into_iter().map(|line| paint.faint(line)));
    }
    lines.extend(graph(output, paint));
    lines.extend(tables(output, paint));
    if lines.is_empty() {
        let rest = output.iter().filter(|(key, _)| !["model", "tokens"].contains(&key.as_str()));
        lines = rest.flat_map(|(key, value)| member(key, value)).take(MOST_LINES).collect();
    }
    lines
}

/// A graph's way and what its nodes said.
fn graph(output: &Map<String, Value>, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let path: Vec<_> = list(output, "path").iter().filter_map(Value::as_str).map(words::one_line).collect();
    if !path.is_empty() {
        lines.push(path.join(" → "));
    }
    if let Some(decision) = output.get("decision").filter(|decision| decision.is_object()) {
        let approved = decision.get("approved").and_then(Value::as_bool).unwrap_or_default();
        let by = decision.get("decided_by").and_then(Value::as_str).filter(|by| !by.is_empty());
        let by = by.map(|by| format!(" by {}", words::short(by))).unwrap_or_default();
        lines.push(format!("{}{by}", if approved { paint.good("approved") } else { paint.bad("rejected") }));
    }
    let Some(state) = output.get("state") else { return lines };
    let results = state.get("results").and_then(Value::as_object);
    for (node, said) in results.into_iter().flatten() {
        lines.push(paint.strong(words::short(node)));
        lines.extend(value(said));
    }
    if results.is_none() {
        // A graph of somebody's own, which says in its state what it came to.
        lines.extend(value(state));
    }
    lines
}

/// Loaded tables, the first rows of each.
fn tables(output: &Map<String, Value>, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let counts = output.get("tables").and_then(Value::as_object);
    for (name, sample) in output.get("sample").and_then(Value::as_object).into_iter().flatten() {
        let count = counts.and_then(|counts| counts.get(name));
        let count = count.map(|count| format!(", {count} rows")).unwrap_or_default();
        lines.push(format!("{}{}", paint.strong(words::short(name)), paint.faint(count)));
        let rows: Vec<_> =
            sample.as_array().into_iter().flatten().filter_map(Value::as_object).take(MOST_ROWS).collect();
        let columns = columns(output, name, &rows);
        let heading = columns.iter().map(|key| words::short(key)).collect();
        let cells = rows
            .iter()
            .map(|row| columns.iter().map(|key| row.get(*key).map(cell).unwrap_or_default()).collect());
        lines.extend(table::lines(&std::iter::once(heading).chain(cells).collect::<Vec<_>>()));
    }
    let target = output.get("target").and_then(|target| target.get("path")).and_then(Value::as_str);
    lines.extend(target.map(|path| paint.faint(format!("loaded into {}", words::one_line(path)))));
    let fires = list(output, "next_fire_times").first().and_then(Value::as_str);
    lines.extend(
        fires.map(|at| paint.faint(format!("as a schedule it would next start at {}", words::short(at)))),
    );
    lines
}

/// The columns of a table, in the order of its schema where that is told.
fn columns<'a>(output: &'a Map<String, Value>, table: &str, rows: &[&'a Map<String, Value>]) -> Vec<&'a str> {
    let schema = output.get("schema").and_then(|schema| schema.get(table)).and_then(Value::as_array);
    match schema {
        Some(schema) => schema.iter().filter_map(|column| column.get("name")?.as_str()).collect(),
        None => rows.first().into_iter().flat_map(|row| row.keys().map(String::as_str)).collect(),
    }
}

/// Where it stands: `requirements.pdf, page 1`, each once.
fn sources(of: &Value) -> impl Iterator<Item = String> {
    let mut told: Vec<String> = Vec::new();
    for source in of.get("sources").and_then(Value::as_array).into_iter().flatten() {
        let Some(file) = source.get("file").and_then(Value::as_str) else { continue };
        let page = source.get("page").filter(|page| !page.is_null());
        let page = page.map(|page| format!(", page {page}")).unwrap_or_default();
        let line = format!("[{}{page}]", words::short(file));
        if !told.contains(&line) && told.len() < MOST_ITEMS {
            told.push(line);
        }
    }
    (!told.is_empty()).then(|| told.join(" ")).into_iter()
}

fn list<'a>(output: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    output.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn member(key: &str, inner: &Value) -> Vec<String> {
    let key = words::short(key);
    match inner {
        Value::Object(members) if members.is_empty() => vec![format!("{key}: {{}}")],
        Value::Array(items) if items.is_empty() => vec![format!("{key}: []")],
        Value::Object(_) | Value::Array(_) => std::iter::once(format!("{key}:"))
            .chain(value(inner).into_iter().map(|line| format!("{INDENT}{line}")))
            .collect(),
        Value::String(text) => {
            let mut lines = wrapped(text);
            match lines.len() {
                0 => vec![format!("{key}:")],
                1 => vec![format!("{key}: {}", lines.remove(0))],
                _ => std::iter::once(format!("{key}:"))
                    .chain(lines.into_iter().map(|line| format!("{INDENT}{line}")))
                    .collect(),
            }
        }
        other => vec![format!("{key}: {other}")],
    }
}

fn item(inner: &Value) -> Vec<String> {
    let mut lines = value(inner).into_iter();
    let first = lines.next().unwrap_or_default();
    std::iter::once(format!("- {first}")).chain(lines.map(|line| format!("{INDENT}{line}"))).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => words::short(text),
        Value::Null => String::new(),
        other => words::short(&other.to_string()),
    }
}

fn more(count: usize, shown: usize) -> Option<String> {
    (count > shown).then(|| format!("… and {} more", count - shown))
}

/// Paragraphs wrapped to the terminal, control characters taken out, shortened to some lines.
fn wrapped(text: &str) -> Vec<String> {
    let width =
        usize::from(console::Term::stdout().size_checked().map_or(WIDEST as u16, |(_, columns)| columns));
    let width = width.saturating_sub(3 * INDENT.len()).clamp(20, WIDEST);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines().map(words::one_line).filter(|line| !line.is_empty()) {
        lines.extend(textwrap::wrap(&paragraph, width).into_iter().map(std::borrow::Cow::into_owned));
    }
    let all = lines.len();
    lines.truncate(MOST_LINES);
    lines.extend((all > MOST_LINES).then(|| format!("… {} more lines", all - MOST_LINES)));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(output: Value) -> Vec<String> {
        stage("s", "engine", output.as_object().unwrap(), Paint::none())
    }

    #[test]
    fn documents_give_summary_and_answers_with_their_sources() {
        let lines = shown(json!({
            "summary": "Two services.", "model": "m", "generated": "Some words.",
            "answers": [{"question": "How long?", "answer": "15 minutes.",
                "sources": [{"file": "a.pdf", "page": 1}, {"file": "a.pdf", "page": 1}]}],
        }));
        assert_eq!(
            lines,
            [
                "s (engine, model m)",
                "  Two services.",
                "  How long?",
                "  15 minutes.",
                "  [a.pdf, page 1]",
                "  in the model's own words:",
                "  Some words.",
            ]
        );
    }

    #[test]
    fn graphs_give_their_way_and_the_decision() {
        let lines = shown(json!({
            "path": ["review", "approve"], "decision": {"approved": false, "decided_by": "ann"},
            "state": {"results": {"review": "Fine."}},
        }));
        assert_eq!(lines, ["s (engine)", "  review → approve", "  rejected by ann", "  review", "  Fine."]);
    }

    #[test]
    fn tables_give_rows_in_columns() {
        let lines = shown(json!({
            "tables": {"result": 2}, "target": {"path": "/t"},
            "schema": {"result": [{"name": "method", "type": "TEXT"}, {"name": "count", "type": "INT"}]},
            "sample": {"result": [{"method": "jwt", "count": 10}, {"method": "key", "count": null}]},
        }));
        assert_eq!(
            lines,
            [
                "s (engine)",
                "  result, 2 rows",
                "  method  count",
                "  jwt     10",
                "  key",
                "  loaded into /t"
            ]
        );
    }

    #[test]
    fn a_failure_is_told_with_its_field_and_the_whole_message() {
        let error = Error {
            reason: "BROKEN".into(),
            message: format!("{}\nend", "word ".repeat(60)),
            field: "docs[0]".into(),
            ..Error::default()
        };
        let lines = failures([("s", "engine", &error)], Paint::none());
        assert_eq!(lines.get(1).unwrap(), "s (engine) failed: BROKEN, in docs[0]");
        assert_eq!(lines.last().unwrap(), "  end");
        assert_eq!(lines.join(" ").matches("word").count(), 60);
    }

    #[test]
    fn anything_else_is_shown_as_it_is() {
        assert_eq!(
            shown(json!({"value": {"a": [1, {"b": "c"}], "e": {}}})),
            ["s (engine)", "  value:", "    a:", "      - 1", "      - b: c", "    e: {}"]
        );
    }
}
