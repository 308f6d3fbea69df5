//! The gRPC codec: prost's, with a malformed or too deep message answered as the caller's fault.
//!
//! prost refuses a message nested deeper than 100 levels, and tonic reports that as INTERNAL; to the caller
//! it is INVALID_ARGUMENT.

use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt as _};

/// Encodes like [`ProstCodec`]; decodes like it, with the caller's faults named as such.
#[derive(Clone, Debug)]
pub struct LimitedCodec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for LimitedCodec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T, U> Codec for LimitedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = LimitedDecoder<<ProstCodec<T, U> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        LimitedDecoder(self.0.decoder())
    }
}

/// See [`LimitedCodec`].
#[derive(Clone, Debug)]
pub struct LimitedDecoder<D>(D);

impl<D: Decoder<Error = Status>> Decoder for LimitedDecoder<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        self.0.decode(buffer).map_err(|status| match status.code() {
            Code::Internal => refuse(status.message()),
            _ => status,
        })
    }
}

fn refuse(cause: &str) -> Status {
    let (reason, message) = if cause.contains("recursion limit") {
        (
            "TOO_DEEP",
            "the message is nested too deeply; objects and lists may nest at most 24 levels".to_owned(),
        )
    } else {
        ("MALFORMED", format!("the message is not well formed: {cause}"))
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "mahavishnu", [("field".to_owned(), String::new())]);
    details.add_bad_request_violation("", message.clone());
    Status::with_error_details(Code::InvalidArgument, message, details)
}
