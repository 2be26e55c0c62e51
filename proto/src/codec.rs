//! The codec of device streams: prost with small buffers, since a server holds many idle streams.
//!
//! Used by the generated `edge` services only; links between services keep tonic's defaults.

use std::marker::PhantomData;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// First size of a stream's encode and decode buffers, in bytes; they grow with larger messages.
pub const EDGE_BUFFER_BYTES: usize = 1024;
/// Bytes after which an encoder yields a DATA frame.
pub const EDGE_YIELD_BYTES: usize = 32 * 1024;

/// `ProstCodec` with buffers of [`EDGE_BUFFER_BYTES`].
#[derive(Debug, Clone)]
pub struct EdgeCodec<T, U> {
    kind: PhantomData<(T, U)>,
}

impl<T, U> Default for EdgeCodec<T, U> {
    fn default() -> Self {
        Self { kind: PhantomData }
    }
}

impl<T, U> Codec for EdgeCodec<T, U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        let settings = BufferSettings::new(EDGE_BUFFER_BYTES, EDGE_YIELD_BYTES);
        ProstCodec::<T, U>::raw_encoder(settings)
    }

    fn decoder(&mut self) -> Self::Decoder {
        let settings = BufferSettings::new(EDGE_BUFFER_BYTES, EDGE_YIELD_BYTES);
        ProstCodec::<T, U>::raw_decoder(settings)
    }
}
