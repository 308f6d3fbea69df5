use super::{Object, State};
use crate::violation::Violations;
use crate::workflow::{Stage, Workflow};
pub fn condition_holds(_: &Stage, _: &Object) -> Result<bool, Violations> {
    Ok(true)
}
pub fn resolve_task(stage: &Stage, _: &Object) -> Result<Object, Violations> {
    Ok(stage.task.clone())
}
pub fn variables(_: &Workflow, _: &State) -> Object {
    Object::new()
}
