//! The pages of the engines say what the code takes and gives, and their commands run as they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use mahavishnu_core::workflow::{output, task};
use mahavishnu_test_support::system::{finished, provision};
use mahavishnu_worker::Engine;
use serde_json::{Map, Value, json};

use crate::page::{Page, Table, words};
use crate::support::{RUN, SHORT, mahavishnu, provisioned, system, test};

const ENGINES: [Engine; 4] = [
    mahavishnu_worker_agno::ENGINE,
    mahavishnu_worker_langgraph::ENGINE,
    mahavishnu_worker_llamaindex::ENGINE,
    mahavishnu_worker_prefect::ENGINE,
];

type Places = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The page of an engine.
pub fn page(engine: &str) -> Page {
    Page::read(&root().join(format!("crates/worker-{engine}/README.md")))
}

fn set<T: ToString>(items: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// The first column, or the second, by the words of the first.
fn column(table: &Table) -> BTreeSet<String> {
    set(table.rows.iter().flat_map(|row| words(&row[0])))
}

/// The keys that a page lists, by the places of `Vocabulary`.
fn keys(page: &Page) -> Places {
    let mut places = Places::new();
    for table in page.tables() {
        let heading = &table.header[0];
        if heading.starts_with("Keys of `") {
            for form in words(heading) {
                places.entry(form.to_owned()).or_default().extend(column(table));
            }
        } else if heading.starts_with("Keys in `") {
            places.insert(format!("in {}", words(heading)[0]), column(table));
        } else if heading == "Kind of node" {
            for row in &table.rows {
                places.insert(format!("node {}", words(&row[0])[0]), set(words(&row[1])));
            }
        }
    }
    places
}

#[test]
fn every_key_word_and_bound_of_a_task_is_on_its_page_and_no_other() {
    for engine in ENGINES {
        let (page, vocabulary) = (page(engine.name), task::vocabulary(engine.name).unwrap());
        let taken = vocabulary.keys.iter().map(|(place, keys)| ((*place).to_owned(), set(*keys)));
        assert_eq!(keys(&page), taken.collect::<Places>(), "keys of {}", engine.name);
        for (key, known) in vocabulary.words {
            let table = page.table(&format!("Kind of `{key}`"));
            let table = table.or_else(|| page.table(&format!("Kind of {}", key.trim_end_matches('s'))));
            let listed = match table {
                Some(table) => column(table),
                None => set(words(&page.row(key)[1])),
            };
            assert_eq!(listed, set(*known), "words of {key}, {}", engine.name);
        }
        for (key, most) in vocabulary.bounds {
            let number = if *most < 1_000 {
                most.to_string()
            } else {
                format!("{},{:03}", most / 1_000, most % 1_000)
            };
            let told = |line: &str| line.contains(&format!("`{key}")) && line.contains(&number);
            assert!(page.text.lines().any(told), "{key} of {} takes {number} at most", engine.name);
        }
    }
}

#[test]
fn the_examples_of_outputs_have_all_that_is_declared_and_nothing_else() {
    let shapes = std::fs::read_to_string(root().join("crates/core/data/outputs.yaml")).unwrap();
    let shapes: Value = serde_saphyr::from_str(&shapes).unwrap();
    for engine in ENGINES {
        let mut shown = BTreeSet::new();
        let page = page(engine.name);
        for (before, language, text) in page.blocks().filter(|(before, ..)| before.starts_with("Output of")) {
            assert_eq!(language, "json");
            let example: Value = serde_json::from_str(text).unwrap();
            for form in words(before.split([';', ':']).next().unwrap()) {
                shown.insert(form.to_owned());
                let shape = shape_of(&shapes, engine.name, form);
                let mut task = json!({"type": form, form: "x"}).as_object().unwrap().clone();
                task.extend(
                    shape.keys().filter_map(|key| Some((key.split_once(" if ")?.1.to_owned(), json!("x")))),
                );
                task.remove(if is_type(engine.name, form) { form } else { "type" });
                let compared = output(engine.name, &task).compare(&example);
                assert_eq!(compared, Ok(()), "{form} of {}", engine.name);
                let name = |key: &String| key.split(" if ").next().unwrap().trim_end_matches('?').to_owned();
                for key in shape.keys().filter(|key| !key.starts_with('*')).map(name) {
                    assert!(example.get(&key).is_some(), "{form}: no {key} in {text}");
                }
            }
        }
        let declared = shapes["outputs"][engine.name].as_object().unwrap().keys();
        assert_eq!(shown, set(declared), "{}", engine.name);
    }
}

fn is_type(engine: &str, form: &str) -> bool {
    let of_type = ["document_analysis", "rag_workflow", "etl", "scheduled_etl", "dag"];
    ["llamaindex", "prefect"].contains(&engine) && of_type.contains(&form)
}

/// The members that the file declares for a form.
fn shape_of(shapes: &Value, engine: &str, form: &str) -> Map<String, Value> {
    let shape = &shapes["outputs"][engine][form];
    let shape = shape.as_str().map_or(shape, |name| &shapes["types"][name]);
    shape.as_object().unwrap_or_else(|| panic!("{form} of {engine} is not declared")).clone()
}

/// What the hosts' modules hold, told by themselves in the environments of their engines.
#[test]
fn the_hosts_know_the_same_words_and_so_do_the_tables_of_catalogues() {
    test(async {
        provisioned().await;
        let agno = told(
            "agno",
            "from .agno import KEYS, catalogue as c; say(KEYS, c._KEYS, list(c._read(c.SHIPPED)))",
        )
        .await;
        let vocabulary = |engine: &str, place: &str| -> BTreeSet<String> {
            let of = task::vocabulary(engine).unwrap();
            let found = of.keys.iter().chain(of.words).find(|(name, _)| *name == place);
            set(found.unwrap_or_else(|| panic!("no {place}")).1)
        };
        let forms = set(["agents", "agent", "team"]);
        assert_eq!(agno[0], &vocabulary("agno", "agents") | &forms);
        let page = self::page("agno");
        assert_eq!(agno[1], column(page.table("Keys of an agent").unwrap()));
        let named = page.paragraphs().find(|text| text.contains("come with the program")).unwrap();
        assert_eq!(agno[2], set(words(named.split("come with").next().unwrap())));

        let langgraph =
            told("langgraph", "from .langgraph import workflow as w; say(w._KEYS, *w.KINDS.values())").await;
        let kinds = ["agent", "approval", "set", "python", "graph", "tool"]
            .map(|kind| vocabulary("langgraph", &format!("node {kind}")));
        assert_eq!(langgraph[0], vocabulary("langgraph", "in workflow"));
        assert_eq!(langgraph[1..], kinds);

        let modules = "from .prefect import catalogue as c, dag, expect, load";
        let prefect = told("prefect", &format!(
            "{modules}; say(load.KINDS, load._KEYS, dag.KINDS, expect.KEYS, *[(k, *a, *b) for of in (c._KEYS, c._TARGET_KEYS) for k, (a, b) in of.items()])"
        )).await;
        let known = ["target", "in target", "tasks", "in expect"].map(|place| vocabulary("prefect", place));
        assert_eq!(prefect[..4], known);
        let page = self::page("prefect");
        let rows =
            ["Kind of source", "Kind of place in `targets`"].map(|name| &page.table(name).unwrap().rows);
        let listed =
            rows.into_iter().flatten().map(|row| set(words(&row[0]).into_iter().chain(words(&row[1]))));
        let sorted = |mut all: Vec<BTreeSet<String>>| {
            all.sort();
            all
        };
        assert_eq!(sorted(listed.collect()), sorted(prefect[4..].to_vec()));
    });
}

/// What a line of Python says in an engine's environment, as sets.
pub async fn told(engine: &str, line: &str) -> Vec<BTreeSet<String>> {
    let environment = ENGINES.iter().find(|known| known.name == engine).unwrap().environment();
    let python = provision().unwrap().environment(&environment).await.unwrap();
    let say = "import json\ndef say(*lists): print(json.dumps([sorted(l) for l in lists]))\n";
    let script = format!("__package__ = 'mahavishnu_host.engines'\n{say}{line}");
    let mut command = Command::new(python);
    command.args(["-c", &script]).env("PYTHONPATH", root().join("crates/worker/python"));
    let said = finished(command, b"", RUN).await.unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lists: Vec<Vec<String>> = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    lists.into_iter().map(set).collect()
}

#[test]
fn every_reason_of_an_engine_is_on_its_page_and_no_other() {
    for engine in ENGINES {
        let sources = root().join("crates/worker/python/mahavishnu_host/engines").join(engine.name);
        let mut used = BTreeSet::new();
        for file in std::fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "py") {
                used.extend(reasons(&std::fs::read_to_string(file).unwrap()));
            }
        }
        let table = page(engine.name);
        assert_eq!(column(table.table("Reason").unwrap()), used, "reasons of {}", engine.name);
    }
    let common = Page::read(&root().join("crates/worker/README.md"));
    let sources = sources(&root().join("crates/worker"));
    for reason in column(common.table("Reason").unwrap()) {
        assert!(sources.contains(&format!("{reason:?}")), "nothing has the reason {reason}");
    }
}

/// Names in capitals that a module of Python gives as reasons.
fn reasons(module: &str) -> BTreeSet<String> {
    let others = ["environ", "ALLOWED =", "error.reason"];
    let lines = module.lines().filter(|line| !others.iter().any(|other| line.contains(other)));
    let quoted = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    let shouted = |text: &&str| {
        text.contains('_')
            && text.starts_with(char::is_uppercase)
            && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    set(quoted.filter(shouted))
}

/// All sources below a directory, in one text.
fn sources(directory: &Path) -> String {
    let mut all = String::new();
    for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            all += &std::fs::read_to_string(path).unwrap();
        }
    }
    all
}

#[test]
fn versions_are_those_of_the_lock_file_on_the_page_in_doctor_and_at_work() {
    test(async {
        let system = system().await;
        let doctor =
            finished(mahavishnu(&system.home, &["doctor", "--json"]).await, b"", SHORT).await.unwrap();
        let doctor: Value = serde_json::from_str(&doctor.out).unwrap();
        let info = finished(mahavishnu(&system.home, &["info", "--json"]).await, b"", SHORT).await.unwrap();
        let info: Value = serde_json::from_str(&info.out).unwrap();
        for engine in ENGINES {
            let environment = engine.environment();
            let locked = environment.versions();
            assert!(locked.len() > 1, "{}: {locked:?}", engine.name);
            let page = page(engine.name);
            let said = page.paragraphs().find(|text| text.contains("Versions:")).unwrap();
            let said = said.replace([',', ';'], " ");
            let checks = doctor["checks"].as_array().unwrap();
            let name = format!("environment of {}", engine.name);
            let check = checks.iter().find(|check| check["check"] == name.as_str()).unwrap();
            let pools = [&doctor["pools"], &info["pools"]].map(|pools| of_engine(pools, engine.name));
            for pool in pools {
                assert!(pool["slots"].as_u64().unwrap() >= 1, "{pool}");
                assert_eq!(pool["workers"][0]["isolation"], "process", "{pool}");
            }
            for (package, version) in locked {
                let pair = format!("{package} {version}");
                assert!(said.contains(&pair), "{pair} is not on the page of {}", engine.name);
                assert!(check["detail"].as_str().unwrap().contains(&pair), "{check}");
                for pool in pools {
                    assert_eq!(pool["workers"][0]["versions"][package], version, "{pool}");
                }
            }
            // And no version is on the page that the lock file does not have.
            let all: Vec<&str> = said.split_whitespace().collect();
            for pair in all.windows(2).filter(|pair| {
                pair[1].split('.').count() == 3 && pair[1].starts_with(|c: char| c.is_ascii_digit())
            }) {
                let line = format!("{}=={}", pair[0], pair[1]);
                assert!(engine.requirements.contains(&line), "{line} is not locked");
            }
        }
    });
}

/// The workers without a pool.
fn of_engine<'a>(pools: &'a Value, engine: &str) -> &'a Value {
    let mut pools = pools.as_array().unwrap().iter();
    pools
        .find(|pool| pool["engine"] == engine && pool["name"].is_null())
        .unwrap_or_else(|| panic!("no {engine}"))
}

/// What a page shows in a block of `bash` is run, in order; what it shows right after it in a block of `text` is in what
/// comes out.
pub async fn runs_as_it_stands(page: &str) -> String {
    let system = system().await;
    let home = &system.home;
    let programs = mahavishnu(home, &[]).await.get_program().to_owned();
    let programs = Path::new(&programs).parent().unwrap().to_owned();
    let page = Page::read(&root().join(page));
    let mut blocks = page.blocks().peekable();
    let mut out = String::new();
    while let Some((_, language, text)) = blocks.next() {
        // Neither what builds this, nor what needs a program that is not part of it.
        if language != "bash" || text.contains("cargo ") || text.contains("grpcurl ") {
            continue;
        }
        let mut command = Command::new("bash");
        command.args(["-eu", "-o", "pipefail", "-c", text]).current_dir(root());
        command.env("MAHAVISHNU_HOME", home.path());
        command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
        let said = finished(command, b"", RUN).await.unwrap();
        assert_eq!(said.code, Some(0), "{text}\n{}\n{}", said.out, said.err);
        out += &said.out;
        let Some((_, _, shown)) =
            blocks.next_if(|(before, language, _)| *language == "text" && before.is_empty())
        else {
            continue;
        };
        let mut rest = said.out.as_str();
        for line in shown.lines() {
            let at = rest.find(line.trim_end());
            let at =
                at.unwrap_or_else(|| panic!("{line:?} is not, or not there, in\n{}\n{}", said.out, said.err));
            rest = &rest[at + line.trim_end().len()..];
        }
    }
    assert!(!out.is_empty(), "nothing ran");
    out
}

#[test]
fn the_readme_runs_as_it_stands() {
    test(async {
        let out = runs_as_it_stands("README.md").await;
        for part in ["llamaindex", "langgraph", "847 seconds", "approved by ann, ben"] {
            assert!(out.contains(part), "no {part} in {out}");
        }
        let readme = Page::read(&root().join("README.md"));
        let release = std::fs::read_to_string(root().join("tests/workflows/release.yaml")).unwrap();
        assert!(readme.blocks().any(|(_, language, text)| language == "yaml" && release.contains(text)));
    });
}

#[test]
fn the_page_of_workers_runs_as_it_stands() {
    test(async { drop(runs_as_it_stands("crates/worker/README.md").await) });
}
