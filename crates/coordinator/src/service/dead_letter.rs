//! `DeadLetterService`.

use mahavishnu_proto::v1::dead_letter_service_server::DeadLetterService;
use mahavishnu_proto::v1::{
    GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse,
    RedriveDeadLetterRequest, RedriveDeadLetterResponse,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, trace};
use crate::app::Page;

#[async_trait]
impl DeadLetterService for Api {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let page = Page { size: request.page_size, token: request.page_token };
        let (dead_letters, next_page_token) =
            self.app.list_dead_letters(&page, &request.execution_id).await?;
        Ok(Response::new(ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let letter = self.app.dead_letter(&request.into_inner().id).await?;
        Ok(Response::new(GetDeadLetterResponse { dead_letter: Some(letter) }))
    }

    async fn redrive_dead_letter(
        &self,
        request: Request<RedriveDeadLetterRequest>,
    ) -> Result<Response<RedriveDeadLetterResponse>, Status> {
        let trace = trace(&request);
        let history = self.app.redrive(&request.into_inner().id, &trace).await?;
        Ok(Response::new(RedriveDeadLetterResponse { execution: Some(self.app.describe(&history)) }))
    }
}
