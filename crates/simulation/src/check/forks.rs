//! What an execution takes over from another: nothing but results that the other accepted.

use std::collections::BTreeMap;

use mahavishnu_core::execution::{Ended, Fact};
use mahavishnu_core::id::StageId;

use super::{Complaints, Evidence, Logged, verdicts};

/// **I2** beyond one execution: a retry or a fork goes on from an execution that exists, and every result that it takes
/// over is the one which that execution accepted, or took over itself.
pub(super) fn check(history: &[Logged], evidence: &Evidence<'_>, complaints: &mut Complaints<'_>) {
    let Some(Fact::Accepted(accepted)) = history.first().map(|logged| &logged.record.fact) else { return };
    let Some(forked) = &accepted.forked else { return };
    let Some(source) = evidence.histories.get(&forked.from) else {
        return complaints.add("I2", format!("it goes on from {}, which does not exist", forked.from));
    };
    let ended = ended(source);
    for (stage, result) in &forked.results {
        let same = match (result, ended.get(stage)) {
            (Ended::Completed(taken), Some(Some(output))) => taken == *output,
            (Ended::Skipped(_), Some(None)) => true,
            _ => false,
        };
        if !same {
            complaints
                .add("I2", format!("it took over a result of {stage} that {} did not accept", forked.from));
        }
    }
}

/// The stages that ended, each with its output unless it was skipped.
fn ended(
    history: &[Logged],
) -> BTreeMap<&StageId, Option<&std::sync::Arc<mahavishnu_core::execution::Object>>> {
    let mut ended = BTreeMap::new();
    for (logged, counts) in history.iter().zip(verdicts(history)) {
        match &logged.record.fact {
            Fact::Accepted(accepted) if counts => {
                for (stage, result) in accepted.forked.iter().flat_map(|forked| &forked.results) {
                    let output = match result {
                        Ended::Completed(output) => Some(output),
                        Ended::Skipped(_) => None,
                    };
                    ended.insert(stage, output);
                }
            }
            Fact::Completed(done) if counts => drop(ended.insert(&done.origin.stage, Some(&done.output))),
            Fact::Skipped { stage, .. } if counts => drop(ended.insert(stage, None)),
            _ => {}
        }
    }
    ended
}
