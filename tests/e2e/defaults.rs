//! The defaults on the pages of the engines are those of the code.

use std::collections::BTreeSet;

use crate::page::{Page, words};
use crate::pages::{page, told};
use crate::support::{provisioned, test};

/// What tables say of defaults, as `key=default`. In words is only what no literal says.
fn defaults(page: &Page) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for row in page.tables().flat_map(|table| &table.rows) {
        for (before, after) in row[1..].iter().filter_map(|cell| cell.split_once("default")) {
            let after = after.trim();
            let value = match after.starts_with(|c: char| c.is_ascii_digit()) {
                true => after.split(". ").next().unwrap(),
                false => before
                    .trim_end_matches("by ")
                    .trim_end_matches([' ', '('])
                    .split([' ', '('])
                    .next_back()
                    .unwrap(),
            };
            found.insert(format!("{}={}", words(&row[0])[0], value.trim_matches('`')));
        }
    }
    found
}

/// Asked of the code that takes a task without the key.
#[test]
fn the_defaults_on_a_page_are_those_of_the_hosts() {
    test(async {
        provisioned().await;
        let asked = [
            (
                "agno",
                "
import asyncio
from ..api import Model, Task
from .agno import _runnable, catalogue
model = Model('http://127.0.0.1:9/v1', 'm')
task = Task('e', 's', 1, {'agents': ['implementer', 'reviewer']}, repos=['.'], model=model)
team = asyncio.run(_runnable(task, None))[0]
offered = {name for agent in team.members for tool in agent.tools for name in tool.functions}
writes = 'never' if 'read_file' in offered and 'write_file' not in offered else 'not never'
role = 'name' if catalogue._entry('x', {}, '').role == 'x' else 'not its name'
say([f'mode={team.mode.value}', f'writes={writes}', f'role={role}'])",
            ),
            (
                "langgraph",
                "
from .langgraph import workflow
one, two = (workflow.parse({'nodes': ['a', 'b'][:n]}).max_steps for n in (1, 2))
say([f'max_steps={2 * one - two} and {two - one} for each node'])",
            ),
            (
                "llamaindex",
                "
from ..api import Task
from .llamaindex import inputs
say([f'top_k={inputs.top_k(Task(\"e\", \"s\", 1, {}))}'])",
            ),
            (
                "prefect",
                "
import asyncio
from ..api import Task
from .prefect import catalogue, load, schedule
task = Task('e', 's', 1, {'schedule': '0 2 * * *'})
times = asyncio.run(schedule.next_fire_times(task))
zone = 'UTC' if all(time.endswith('T02:00:00+00:00') for time in times) else times
say([f'target={load.target(task).kind}', f's3={catalogue.STORED[0]}', f'timezone={zone}'])",
            ),
        ];
        for (engine, lines) in asked {
            let mut shown = defaults(&page(engine));
            if engine == "prefect" {
                assert!(shown.remove("sources=it") && shown.remove("path=By"), "{shown:?}");
            }
            assert_eq!(told(engine, lines).await, [shown], "{engine}");
        }
    });
}
