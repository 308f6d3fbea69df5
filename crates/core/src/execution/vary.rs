//! What an execution that goes on from another one may change, where people approve under a policy.
//!
//! Whoever may fork must not come past those who may approve. What was approved was approved as it stood, so a fork that
//! changes anything builds on no decision that was taken before; and a stage with a policy runs as its author wrote it,
//! from its beginning or from a checkpoint as the engine left it. What is forked without a change takes over whatever was
//! accepted. Everything that a fork refuses can be had by starting the changed workflow: then all are asked.

use std::collections::BTreeMap;
use std::fmt;

use super::fact::Ended;
use crate::id::StageId;
use crate::workflow::Workflow;

/// What a fork makes different from its stage on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variation {
    /// The input of the workflow.
    pub input: bool,
    /// The task, engine or pool of the stage.
    pub stage: bool,
    /// The state of the checkpoint that the stage goes on from, or the node that is taken to have written it.
    pub state: bool,
    /// The stage goes on from a checkpoint.
    pub checkpoint: bool,
}

/// How a fork would come past people who decide under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// A changed state of this stage might stand for their decision.
    State(StageId),
    /// A changed task, engine or pool of this stage might not ask them.
    Stage(StageId),
    /// This stage would go on after their decision, with an input that they did not see.
    Input(StageId),
    /// They decided at this stage before something that depends on it was changed.
    Decided {
        /// The stage with their decision.
        stage: StageId,
        /// It is the input alone that is changed: asked again, they can decide on it.
        ask_again: bool,
    },
}

impl Workflow {
    /// Checks that a fork from this stage, which takes over these results, comes past nobody who decides under a policy.
    ///
    /// # Errors
    /// How it would.
    pub fn check_variation(
        &self,
        from: &StageId,
        taken_over: &BTreeMap<StageId, Ended>,
        variation: Variation,
    ) -> Result<(), Bypass> {
        let Variation { input, stage, state, checkpoint } = variation;
        if self.stage(from).is_some_and(|stage| stage.approval.is_some()) {
            if state {
                return Err(Bypass::State(from.clone()));
            }
            if stage {
                return Err(Bypass::Stage(from.clone()));
            }
            if checkpoint && input {
                return Err(Bypass::Input(from.clone()));
            }
        }
        if !(input || stage || state) {
            return Ok(());
        }
        let decided = self.stages.iter().filter(|stage| stage.approval.is_some());
        let mut decided = decided.map(|stage| &stage.id).filter(|id| taken_over.contains_key(*id));
        let built_on = |id: &&StageId| self.from(id).iter().any(|later| !taken_over.contains_key(later));
        decided
            .find(built_on)
            .map_or(Ok(()), |id| Err(Bypass::Decided { stage: id.clone(), ask_again: !stage && !state }))
    }
}

/// What is in the way, and what to do.
impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(stage) => write!(
                f,
                "{stage} has an approval policy, and a changed state might stand for the approval; fork it without a changed state"
            ),
            Self::Stage(stage) => write!(
                f,
                "{stage} has an approval policy, and with another task, engine or pool it might not ask; start the changed workflow as an execution of its own"
            ),
            Self::Input(stage) => write!(
                f,
                "{stage} has an approval policy, and its checkpoint belongs to the input that it was given; fork it without the checkpoint, so that it asks about the new input"
            ),
            Self::Decided { stage, ask_again: true } => write!(
                f,
                "{stage} has an approval policy, and its result stands for the input that it was given; fork from {stage} or a stage before it, so that it is decided on the new input"
            ),
            Self::Decided { stage, ask_again: false } => write!(
                f,
                "{stage} has an approval policy, and its result stands for the workflow as it was; start the changed workflow as an execution of its own, so that it is decided on that"
            ),
        }
    }
}
