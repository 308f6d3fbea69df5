//! `dead-letters`: tasks that were given up, and running them again.

use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_proto::v1::{
    DeadLetter, GetDeadLetterRequest, ListDeadLettersRequest, ListDeadLettersResponse,
    RedriveDeadLetterRequest, dead_letter,
};
use serde_json::Value;

use super::executions::goes_on;
use crate::args::DeadLetters;
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, result, table, words};

/// Runs it.
pub async fn run(context: &Context, args: DeadLetters) -> anyhow::Result<ExitCode> {
    let client = Client::required(context).await?;
    let at = || failure::at(&client.endpoint);
    match args {
        DeadLetters::List { all, execution } => list(context, &client, all, execution).await?,
        DeadLetters::Show { id } => {
            let response = client.dead_letters().get_dead_letter(GetDeadLetterRequest { id }).await;
            let letter = response.map_err(at())?.into_inner().dead_letter;
            show(context, &letter.context("the server sent no dead letter")?);
        }
        DeadLetters::Redrive { id } => {
            let response = client.dead_letters().redrive_dead_letter(RedriveDeadLetterRequest { id }).await;
            goes_on(context, response.map_err(at())?.into_inner().execution)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context, client: &Client, all: bool, execution: String) -> anyhow::Result<()> {
    let mut listed = ListDeadLettersResponse::default();
    loop {
        let request = ListDeadLettersRequest {
            page_size: 1_000,
            page_token: std::mem::take(&mut listed.next_page_token),
            execution_id: execution.clone(),
        };
        let response =
            client.dead_letters().list_dead_letters(request).await.map_err(failure::at(&client.endpoint))?;
        let page = response.into_inner();
        listed.dead_letters.extend(page.dead_letters);
        listed.next_page_token = page.next_page_token;
        if listed.next_page_token.is_empty() {
            break;
        }
    }
    listed.dead_letters.retain(|letter| all || letter.state() == dead_letter::State::Open);
    if context.global.json {
        output::line(json::list("ListDeadLettersResponse", "dead_letters", &listed));
    } else if listed.dead_letters.is_empty() {
        context.say("no task was given up");
    } else {
        let paint = Paint::stdout();
        let heading = ["ID", "STATE", "STAGE", "ENGINE", "REASON", "GIVEN UP"].map(str::to_owned).to_vec();
        let row = |letter: &DeadLetter| {
            vec![
                letter.id.clone(),
                state(letter, paint),
                letter.stage_id.clone(),
                letter.engine.clone(),
                letter.error.as_ref().map(|error| error.reason.clone()).unwrap_or_default(),
                words::date(letter.create_time.as_ref()),
            ]
        };
        let rows: Vec<_> = std::iter::once(heading).chain(listed.dead_letters.iter().map(row)).collect();
        output::lines(table::lines(&rows));
    }
    Ok(())
}

fn show(context: &Context, letter: &DeadLetter) {
    if context.global.json {
        output::line(json::message("DeadLetter", letter));
        return;
    }
    let paint = Paint::stdout();
    output::line(format!("{}  {}", paint.strong(&letter.id), state(letter, paint)));
    output::line(format!(
        "stage {} on {}, attempt {}, delivered {} times",
        letter.stage_id, letter.engine, letter.attempt, letter.deliveries
    ));
    output::line(words::failure(letter.error.as_ref()));
    let task = letter.task.clone().map(mahavishnu_proto::json::from_struct).unwrap_or_default();
    output::lines(result::value(&Value::Object(task)).into_iter().map(|line| format!("  {line}")));
    context.say(&match letter.redriven_as.as_str() {
        "" => format!("run it again with: mahavishnu dead-letters redrive {}", letter.id),
        id => format!("run again as {id}"),
    });
}

fn state(letter: &DeadLetter, paint: Paint) -> String {
    use dead_letter::State;
    match letter.state() {
        State::Unspecified => "unknown".to_owned(),
        State::Open => paint.bad("open"),
        State::Redriven => paint.faint("run again"),
    }
}
