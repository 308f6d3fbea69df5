//! `ApprovalService`.

use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_proto::v1::approval_service_server::ApprovalService;
use mahavishnu_proto::v1::{
    DecideApprovalRequest, DecideApprovalResponse, GetApprovalRequest, GetApprovalResponse,
    ListApprovalsRequest, ListApprovalsResponse,
};
use mahavishnu_proto::{json, v1};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, trace};
use crate::app::{ApprovalFilter, Decision, Error, Page};

#[async_trait]
impl ApprovalService for Api {
    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let request = request.into_inner();
        let page = Page { size: request.page_size, token: request.page_token };
        let mut violations = Violations::default();
        let states = request
            .states
            .iter()
            .enumerate()
            .filter_map(|(n, state)| match v1::approval::State::try_from(*state) {
                Ok(state) if state != v1::approval::State::Unspecified => Some(state),
                _ => {
                    violations.push(
                        format!("states[{n}]"),
                        Reason::InvalidValue,
                        "not a state of an approval",
                    );
                    None
                }
            })
            .collect();
        let filter = ApprovalFilter { states, execution: request.execution_id };
        let filter = violations.into_result(filter).map_err(Error::Invalid)?;
        let (approvals, next_page_token) = self.app.list_approvals(&page, &filter).await?;
        Ok(Response::new(ListApprovalsResponse { approvals, next_page_token }))
    }

    async fn get_approval(
        &self,
        request: Request<GetApprovalRequest>,
    ) -> Result<Response<GetApprovalResponse>, Status> {
        let approval = self.app.approval(&request.into_inner().id).await?;
        Ok(Response::new(GetApprovalResponse { approval: Some(approval) }))
    }

    async fn decide_approval(
        &self,
        request: Request<DecideApprovalRequest>,
    ) -> Result<Response<DecideApprovalResponse>, Status> {
        let trace = trace(&request);
        let decided_by = caller(&request, &request.get_ref().decided_by)?;
        let request = request.into_inner();
        let decision = Decision {
            approved: request.approved,
            reason: request.reason,
            decided_by,
            values: request.values.map(json::from_struct).unwrap_or_default(),
            request_id: request.request_id,
            nonce: request.nonce,
        };
        let approval = self.app.decide(&request.id, decision, &trace).await?;
        Ok(Response::new(DecideApprovalResponse { approval: Some(approval) }))
    }
}
