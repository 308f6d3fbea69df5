//! Approvals under a policy: who may decide, how many it takes, until when; and that no decision goes astray.

use mahavishnu_bus::tasks::Delivery;
use tonic::Request;
use v1::approval::State;
use v1::approval_policy::OnTimeout;

use super::*;

fn policy(approvers: &[&str], quorum: u32) -> v1::ApprovalPolicy {
    let approvers = approvers.iter().map(|name| (*name).to_owned()).collect();
    v1::ApprovalPolicy { approvers, quorum, ..v1::ApprovalPolicy::default() }
}

fn under(policy: v1::ApprovalPolicy) -> v1::Workflow {
    workflow([v1::Stage { approval: Some(policy), ..stage("a", &[]) }])
}

fn decision(approval: &v1::Approval, by: &str) -> v1::DecideApprovalRequest {
    v1::DecideApprovalRequest {
        id: approval.id.clone(),
        nonce: approval.nonce.clone(),
        approved: true,
        decided_by: by.into(),
        ..v1::DecideApprovalRequest::default()
    }
}

async fn send(
    coordinator: &Coordinator,
    request: impl tonic::IntoRequest<v1::DecideApprovalRequest>,
) -> Result<v1::Approval, Status> {
    Ok(coordinator.approvals().decide_approval(request).await?.into_inner().approval.unwrap())
}

async fn approve(
    coordinator: &Coordinator,
    approval: &v1::Approval,
    by: &str,
) -> Result<v1::Approval, Status> {
    send(coordinator, decision(approval, by)).await
}

async fn try_get(coordinator: &Coordinator, id: &str) -> Result<v1::Approval, Status> {
    let request = v1::GetApprovalRequest { id: id.into() };
    Ok(coordinator.approvals().get_approval(request).await?.into_inner().approval.unwrap())
}

async fn get(coordinator: &Coordinator, id: &str) -> v1::Approval {
    try_get(coordinator, id).await.unwrap()
}

/// The one thing that an execution waits for.
async fn pending(coordinator: &Coordinator, execution: &str) -> v1::Approval {
    let id = wait_for("the execution to wait", async || {
        let mut execution = coordinator.get(execution).await;
        (execution.state() == v1::execution::State::Waiting)
            .then(|| execution.stages.remove(0).pending_approvals.remove(0).approval_id)
    });
    get(coordinator, &id.await.unwrap()).await
}

/// Starts an execution that waits under this policy.
async fn pause(
    coordinator: &Coordinator,
    worker: &Worker,
    policy: v1::ApprovalPolicy,
) -> (Delivery, v1::Approval) {
    coordinator.begin(under(policy)).await;
    let a = worker.take().await;
    worker.report(&a, Outcome::Paused(&["ship"])).await;
    let approval = pending(coordinator, a.execution.as_str()).await;
    (a, approval)
}

#[tokio::test]
async fn a_quorum_is_counted_across_replicas_and_restarts() {
    let (mut nats, first) = start().await;
    let worker = Worker::join(&nats).await;
    let (a, asked) = pause(&first, &worker, policy(&["ada", "bob", "cy"], 2)).await;
    assert_eq!((asked.policy.as_ref().unwrap().quorum, asked.requested_by.as_str()), (2, "ann"));
    let request = v1::DecideApprovalRequest {
        request_id: "7a4d3f62-6a4e-4f2e-8a3c-0a9f0b7c5d23".into(),
        reason: "read it".into(),
        ..decision(&asked, "ada")
    };
    let one = send(&first, request.clone()).await.unwrap();
    assert_eq!((one.state(), one.votes.len(), one.decide_time), (State::Pending, 1, None));
    drop(first);
    nats.restart().await.unwrap();

    let second = Coordinator::start(&nats).await;
    let third = Coordinator::start(&nats).await;
    assert_eq!(get(&second, &asked.id).await, one);
    assert_eq!(send(&third, request.clone()).await.unwrap(), one, "the answer was lost");
    let other = v1::DecideApprovalRequest { approved: false, ..request };
    refused(send(&third, other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let again = refused(approve(&third, &asked, "ada").await, Code::AlreadyExists, "ALREADY_DECIDED");
    assert!(again.message().contains("it waits for bob or cy"), "{again}");
    let eve = refused(approve(&second, &asked, "eve").await, Code::PermissionDenied, "APPROVER_NOT_ELIGIBLE");
    assert!(eve.message().contains("ask bob or cy"), "{eve}");
    refused(approve(&second, &asked, "").await, Code::InvalidArgument, "REQUIRED");

    let two = approve(&third, &asked, "bob").await.unwrap();
    assert_eq!((two.state(), two.decided_by.as_str()), (State::Approved, "ada, bob"));
    let who: Vec<_> = two.votes.iter().map(|vote| (vote.decided_by.as_str(), vote.reason.as_str())).collect();
    assert_eq!(who, [("ada", "read it"), ("bob", "")]);
    let late = approve(&second, &asked, "cy").await;
    let late = refused(late, Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
    assert!(late.message().contains("was approved before by ada, bob"), "{late}");
    let b = worker.take().await;
    assert_eq!((b.task.attempt, b.task.resume), (1, 1));
    assert_eq!(b.task.resolution.as_ref().unwrap().decided_by, "ada, bob");
    worker.report(&b, Outcome::Completed(json!({}))).await;
    let mut events = second.watch(a.execution.as_str(), 0).await;
    numbered(&events);
    // A replica that had not yet heard of bob's vote has stored cy's, without effect.
    events.retain(|event| event.void_reason.is_empty());
    let lines = kinds(&events);
    let expected = [
        "accepted",
        "scheduled a.1",
        "asked a.1",
        "decided a.1",
        "decided a.1",
        "resumed a.1.1",
        "completed a.1",
        "completed",
    ];
    assert_eq!(lines, expected);
    let told = events.iter().filter_map(|event| match event.kind.as_ref()? {
        v1::event::Kind::ApprovalDecided(told) => Some((told.pending, told.approvals, told.quorum)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(true, 1, 2), (false, 2, 2)]);
}

#[tokio::test]
async fn of_three_votes_at_once_two_make_the_quorum() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    for _ in 0..5 {
        let (a, asked) = pause(&first, &worker, policy(&["ada", "bob", "cy"], 2)).await;
        let votes = tokio::join!(
            approve(&first, &asked, "ada"),
            approve(&second, &asked, "bob"),
            approve(&first, &asked, "cy")
        );
        let (won, lost): (Vec<_>, Vec<_>) = [votes.0, votes.1, votes.2].into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 2);
        refused(lost.into_iter().next().unwrap(), Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
        let b = worker.take().await;
        worker.report(&b, Outcome::Completed(json!({}))).await;
        let lines = kinds(&second.watch(a.execution.as_str(), 0).await);
        let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!((count("resumed"), count("decided a.1")), (1, lines.len() - 6), "{lines:?}");
        let last = get(&second, &asked.id).await;
        assert_eq!((last.state(), last.votes.len()), (State::Approved, 2));
    }
}

#[tokio::test]
async fn whoever_asked_may_not_decide_whatever_the_message_says() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let strict = v1::ApprovalPolicy { exclude_requester: true, require_reason: true, ..policy(&[], 1) };
    let nobody = v1::StartExecutionRequest {
        workflow: Some(under(strict.clone())),
        ..v1::StartExecutionRequest::default()
    };
    let status = coordinator.executions().start_execution(nobody).await.unwrap_err();
    let fields = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(fields[0].field, "requested_by", "{status}");
    let few = v1::ApprovalPolicy { exclude_requester: true, ..policy(&["ann", "bob"], 2) };
    let few = coordinator.try_start(under(few), "").await.unwrap_err();
    let fields = few.get_details_bad_request().unwrap().field_violations;
    assert_eq!(fields[0].field, "stages[0].approval.quorum", "{few}");

    let (a, asked) = pause(&coordinator, &worker, strict).await;
    let own = approve(&coordinator, &asked, "ann").await;
    refused(own, Code::PermissionDenied, "REQUESTER_MAY_NOT_DECIDE");
    let silent = approve(&coordinator, &asked, "bob").await;
    refused(silent, Code::InvalidArgument, "REQUIRED");
    // What a proxy says goes before what the client says.
    let reason = || v1::DecideApprovalRequest { reason: "right".into(), ..decision(&asked, "bob") };
    let proxied = |names: &[&str]| {
        let mut request = Request::new(reason());
        for name in names {
            request.metadata_mut().append("x-forwarded-user", name.parse().unwrap());
        }
        request
    };
    let own = send(&coordinator, proxied(&["ann"])).await;
    refused(own, Code::PermissionDenied, "REQUESTER_MAY_NOT_DECIDE");
    let two = send(&coordinator, proxied(&["bob", "ann"])).await.unwrap_err();
    assert_eq!(two.code(), Code::InvalidArgument);
    // Continued, it was still asked for by the same.
    coordinator.try_cancel(a.execution.as_str()).await.unwrap();
    coordinator.watch(a.execution.as_str(), 0).await;
    let retry = v1::RetryExecutionRequest { id: a.execution.to_string() };
    let mut retry = Request::new(retry);
    retry.metadata_mut().insert("x-forwarded-user", "bob".parse().unwrap());
    let next = coordinator.executions().retry_execution(retry).await.unwrap().into_inner().execution.unwrap();
    assert_eq!(next.requested_by, "ann");
    let b = worker.take().await;
    worker.report(&b, Outcome::Paused(&["ship"])).await;
    let asked = pending(&coordinator, &next.id).await;
    let decided = v1::DecideApprovalRequest { reason: "right".into(), ..decision(&asked, "bob") };
    assert_eq!(send(&coordinator, decided).await.unwrap().state(), State::Approved);
}

#[tokio::test]
async fn a_decision_never_applies_to_a_later_pause() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let (a, first) = pause(&coordinator, &worker, policy(&[], 1)).await;
    assert_eq!(approve(&coordinator, &first, "ada").await.unwrap().state(), State::Approved);
    let b = worker.take().await;
    worker.report(&b, Outcome::Paused(&["ship"])).await;
    let second = pending(&coordinator, a.execution.as_str()).await;
    assert_ne!((&first.id, &first.nonce), (&second.id, &second.nonce));
    let old = approve(&coordinator, &first, "bob").await;
    refused(old, Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
    // The name of the present pause can be guessed, its nonce not.
    let guessed = v1::DecideApprovalRequest { nonce: first.nonce.clone(), ..decision(&second, "bob") };
    let guessed =
        refused(send(&coordinator, guessed).await, Code::FailedPrecondition, "APPROVAL_NONCE_STALE");
    assert!(guessed.message().contains(&second.id), "{guessed}");
    assert_eq!(get(&coordinator, &second.id).await, second);
    assert_eq!(approve(&coordinator, &second, "bob").await.unwrap().state(), State::Approved);
    assert_eq!(worker.take().await.task.resume, 2);
}

/// The coordinator that set the timer is gone when it fires.
#[tokio::test]
async fn a_deadline_decides_although_nobody_was_there() {
    let (nats, first) = start().await;
    let worker = Worker::join(&nats).await;
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = raw.get_stream("MAHAVISHNU_HISTORY").await.unwrap();
    let mut tasks = Vec::new();
    for on_timeout in [OnTimeout::Unspecified, OnTimeout::Approve] {
        let timed =
            v1::ApprovalPolicy { timeout: seconds(1), on_timeout: on_timeout.into(), ..policy(&["ada"], 1) };
        first.begin(under(timed)).await;
        tasks.push(worker.take().await);
    }
    // From here on nothing depends on how long it takes: a deadline that is over early has decided the same.
    let mut asked = Vec::new();
    for a in tasks {
        worker.report(&a, Outcome::Paused(&["ship"])).await;
        let id = format!("{}.a.1.0.0", a.execution);
        let approval = wait_for("the approval", async || try_get(&first, &id).await.ok()).await.unwrap();
        let (create, expire) = (approval.create_time.unwrap(), approval.expire_time.unwrap());
        assert_eq!((expire.seconds - create.seconds, expire.nanos), (1, create.nanos));
        asked.push((a, approval));
    }
    settled(&nats).await;
    drop(first);
    for (a, approval) in &asked {
        let nonce: u64 = approval.nonce.parse().unwrap();
        wait_for("the timer to fire", async || {
            let last = stream.get_last_raw_message_by_subject(&format!("in.{}", a.execution)).await.unwrap();
            (last.sequence > nonce).then_some(())
        })
        .await
        .unwrap();
    }
    let second = Coordinator::start(&nats).await;
    for _ in &asked {
        let b = worker.take().await;
        let approves = asked[1].0.execution == b.execution;
        let resolution = b.task.resolution.as_ref().unwrap();
        assert_eq!((resolution.approved, resolution.decided_by.as_str()), (approves, ""));
        worker.report(&b, Outcome::Completed(json!({}))).await;
    }
    for ((a, approval), state) in asked.iter().zip([State::Rejected, State::Approved]) {
        let events = second.watch(a.execution.as_str(), 0).await;
        let expected = [
            "accepted",
            "scheduled a.1",
            "asked a.1",
            "approval timer",
            "resumed a.1.1",
            "completed a.1",
            "completed",
        ];
        assert_eq!(kinds(&events), expected);
        let now = get(&second, &approval.id).await;
        assert_eq!((now.state(), now.votes.len(), now.decided_by.as_str()), (state, 0, ""));
        let late = refused(
            approve(&second, approval, "ada").await,
            Code::FailedPrecondition,
            "APPROVAL_NOT_PENDING",
        );
        assert!(late.message().contains("nobody decided within 1s"), "{late}");
    }
}

async fn explained(coordinator: &Coordinator, id: &str) -> v1::StageExplanation {
    let request = v1::ExplainExecutionRequest { id: id.into() };
    let told = coordinator.executions().explain_execution(request).await.unwrap().into_inner();
    told.stages.into_iter().next().unwrap()
}

#[tokio::test]
async fn what_it_waits_for_is_explained() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let timed = v1::ApprovalPolicy { timeout: seconds(3_600), ..policy(&["ada", "bob", "cy"], 2) };
    let (a, asked) = pause(&coordinator, &worker, timed).await;
    approve(&coordinator, &asked, "bob").await.unwrap();
    let told = explained(&coordinator, a.execution.as_str()).await;
    assert_eq!(told.reason, "APPROVAL_PENDING");
    assert_eq!(told.command, format!("mahavishnu approvals decide {} --approve   (or --reject)", asked.id));
    let until = chrono::DateTime::from_timestamp(asked.expire_time.unwrap().seconds, 0).unwrap();
    let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let expected = format!(
        "a waits until {until} for the approval of \"ship?\" (1 of 2 have: bob) by 2 of ada, bob, cy, within 1h, then it is rejected"
    );
    assert_eq!(told.sentence, expected);
    let evidence = structs::from_struct(told.evidence.unwrap());
    assert_eq!(evidence["approved_by"], json!(["bob"]));
    assert_eq!((&evidence["quorum"], &evidence["expire_time"]), (&json!(2), &json!(until)));
    assert_eq!(evidence["on_timeout"], json!("reject"));
    coordinator.try_cancel(a.execution.as_str()).await.unwrap();
    coordinator.watch(a.execution.as_str(), 0).await;
    assert_eq!(get(&coordinator, &asked.id).await.state(), State::Expired);
    refused(approve(&coordinator, &asked, "ada").await, Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
}

/// What the core says of each case is tested there; here, that a coordinator asks it with what really differs.
#[tokio::test]
async fn a_fork_comes_past_nobody_who_approves() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let gate = v1::Stage { approval: Some(policy(&["ada"], 1)), ..stage("gate", &[]) };
    let mut gated = workflow([gate, stage("ship", &["gate"])]);
    gated.input = Some(structure(json!({"version": 1})));
    let id = coordinator.begin(gated).await;
    let a = worker.take().await;
    let mut log = worker.bus.claim_checkpoints(&a.execution, &worker.origin(&a)).await.unwrap();
    let key = mahavishnu_bus::checkpoints::Key { checkpoint_id: "c1".into(), ..Default::default() };
    log.save(mahavishnu_bus::checkpoints::Save { key, view: "{}".into(), ..Default::default() })
        .await
        .unwrap();
    worker.report(&a, Outcome::Paused(&["ship"])).await;
    let asked = pending(&coordinator, &id).await;

    let fork = async |from: &str, change: v1::ForkExecutionRequest| {
        let request = v1::ForkExecutionRequest { id: id.clone(), from_stage: from.into(), ..change };
        let answer = coordinator.executions().fork_execution(request).await;
        answer.map(|answer| answer.into_inner().execution.unwrap())
    };
    let same = v1::ForkExecutionRequest::default;
    let input = |version: u64| v1::ForkExecutionRequest {
        input: Some(structure(json!({"version": version}))),
        ..same()
    };
    let task = v1::ForkExecutionRequest { task: Some(structure(json!({"of": "nothing"}))), ..same() };
    let at = |checkpoint: &str| v1::ForkExecutionRequest { checkpoint_id: checkpoint.into(), ..same() };
    let jump = v1::ForkExecutionRequest {
        state: Some(structure(json!({"approved": true}))),
        as_node: "approve".into(),
        ..at("c1")
    };
    let bypassed = |answer: Result<v1::Execution, Status>| {
        refused(answer, Code::FailedPrecondition, "APPROVAL_BYPASSED").message().to_owned()
    };
    // While it waits, and after somebody said yes.
    for approved in [false, true] {
        if approved {
            approve(&coordinator, &asked, "ada").await.unwrap();
            worker.complete("gate", json!({"approved": true})).await;
            worker.complete("ship", json!({})).await;
            coordinator.watch(&id, 0).await;
        }
        let why = bypassed(fork("gate", jump.clone()).await);
        assert!(
            why.starts_with("gate has an approval policy") && why.contains("without a changed state"),
            "{why}"
        );
        bypassed(fork("gate", v1::ForkExecutionRequest { state: None, ..jump.clone() }).await);
        bypassed(fork("gate", task.clone()).await);
        bypassed(fork("gate", v1::ForkExecutionRequest { engine: "other".into(), ..same() }).await);
        bypassed(fork("gate", v1::ForkExecutionRequest { pool: Some("p".into()), ..same() }).await);
        bypassed(fork("gate", v1::ForkExecutionRequest { input: input(2).input, ..at("c1") }).await);
        let unchanged = v1::ForkExecutionRequest { task: Some(structure(json!({"of": "gate"}))), ..input(1) };
        fork("gate", v1::ForkExecutionRequest { checkpoint_id: "c1".into(), ..unchanged }).await.unwrap();
        worker.take().await.ack().await;
    }
    let why = bypassed(fork("ship", input(2)).await);
    assert!(why.contains("fork from gate"), "{why}");
    bypassed(fork("ship", task).await);
    let again = fork("ship", input(1)).await.unwrap();
    assert!(again.stages[0].reused, "what was approved is taken over");
    worker.take().await.ack().await;
    let anew = fork("gate", input(2)).await.unwrap();
    let a = worker.take().await;
    assert_eq!(a.execution.as_str(), anew.id);
    worker.report(&a, Outcome::Paused(&["ship"])).await;
    pending(&coordinator, &anew.id).await;
}

/// Whoever made a schedule, or changed what it does, may not approve what it starts.
#[tokio::test]
async fn what_a_schedule_starts_was_asked_for_by_whoever_made_it() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let strict = v1::ApprovalPolicy { exclude_requester: true, ..policy(&["ada", "bob"], 1) };
    let spec = v1::ScheduleSpec {
        cron: "0 0 1 1 *".into(),
        workflow: Some(under(strict)),
        ..v1::ScheduleSpec::default()
    };
    let create = |by: &str| v1::CreateScheduleRequest {
        id: "yearly".into(),
        spec: Some(spec.clone()),
        requested_by: by.into(),
        ..v1::CreateScheduleRequest::default()
    };
    let nobody = coordinator.schedules().create_schedule(create("")).await.unwrap_err();
    assert_eq!(
        nobody.get_details_bad_request().unwrap().field_violations[0].field,
        "requested_by",
        "{nobody}"
    );
    // A proxy's word goes before the client's.
    let mut proxied = Request::new(create("eve"));
    proxied.metadata_mut().insert("x-forwarded-user", "ada".parse().unwrap());
    let made = coordinator.schedules().create_schedule(proxied).await.unwrap().into_inner().schedule.unwrap();
    assert_eq!((made.created_by.as_str(), made.requested_by.as_str()), ("ada", "ada"));
    let fire = async || {
        let request = v1::TriggerScheduleRequest { id: "yearly".into(), ..Default::default() };
        let answer = coordinator.schedules().trigger_schedule(request).await.unwrap().into_inner();
        let execution = answer.execution.unwrap();
        let a = worker.take().await;
        worker.report(&a, Outcome::Paused(&["ship"])).await;
        (execution.requested_by, pending(&coordinator, &execution.id).await)
    };
    let (requester, asked) = fire().await;
    assert_eq!((requester.as_str(), asked.requested_by.as_str()), ("ada", "ada"));
    let own = approve(&coordinator, &asked, "ada").await;
    refused(own, Code::PermissionDenied, "REQUESTER_MAY_NOT_DECIDE");
    assert_eq!(approve(&coordinator, &asked, "bob").await.unwrap().state(), State::Approved);
    worker.report(&worker.take().await, Outcome::Completed(json!({}))).await;

    let request = v1::UpdateScheduleRequest {
        id: "yearly".into(),
        spec: Some(spec.clone()),
        requested_by: "bob".into(),
        ..v1::UpdateScheduleRequest::default()
    };
    let now = coordinator.schedules().update_schedule(request).await.unwrap().into_inner().schedule.unwrap();
    assert_eq!((now.created_by.as_str(), now.requested_by.as_str()), ("ada", "bob"));
    let listed = coordinator.schedules().list_schedules(v1::ListSchedulesRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().schedules[0].requested_by, "bob");
    let (_, asked) = fire().await;
    refused(approve(&coordinator, &asked, "bob").await, Code::PermissionDenied, "REQUESTER_MAY_NOT_DECIDE");
    assert_eq!(approve(&coordinator, &asked, "ada").await.unwrap().state(), State::Approved);
}
