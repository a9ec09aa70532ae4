//! The compressors, of which only so many run at once.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Coding;

/// Compressors at the same moment; one takes up to about a megabyte. Further answers are sent as they are.
const MOST: usize = 64;
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Both at the point where more work hardly makes JSON smaller.
const BROTLI_QUALITY: i32 = 4;
const GZIP_LEVEL: u32 = 6;
/// 2^18 bytes are looked back at.
const BROTLI_WINDOW: i32 = 18;
const BUFFER: usize = 4 * 1024;

/// One answer being compressed.
pub(crate) struct Encoder {
    kind: Kind,
    _place: Place,
}

enum Kind {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

struct Place(&'static AtomicUsize);

impl Place {
    fn take(running: &'static AtomicUsize) -> Option<Self> {
        let taken = running.fetch_add(1, Ordering::Relaxed);
        // Dropped at once when there are too many.
        Some(Self(running)).filter(|_| taken < MOST)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Encoder {
    /// A compressor; `None` while too many run.
    pub(super) fn new(coding: Coding) -> Option<Self> {
        let place = Place::take(&RUNNING)?;
        let kind = match coding {
            Coding::Brotli => {
                let parameters = BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: BROTLI_WINDOW,
                    ..BrotliEncoderParams::default()
                };
                Kind::Brotli(Box::new(CompressorWriter::with_params(
                    Vec::new(),
                    BUFFER,
                    &parameters,
                )))
            }
            Coding::Gzip => Kind::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))),
        };
        Some(Self { kind, _place: place })
    }

    /// Everything up to here, so that the client can read all of the input.
    pub(super) fn encode(&mut self, input: &[u8]) -> io::Result<Bytes> {
        let output = match &mut self.kind {
            Kind::Brotli(writer) => {
                writer.write_all(input)?;
                writer.flush()?;
                writer.get_mut()
            }
            Kind::Gzip(writer) => {
                writer.write_all(input)?;
                writer.flush()?;
                writer.get_mut()
            }
        };
        Ok(Bytes::from(std::mem::take(output)))
    }

    /// The rest.
    pub(super) fn finish(self, input: &[u8]) -> io::Result<Bytes> {
        let output = match self.kind {
            Kind::Brotli(mut writer) => {
                writer.write_all(input)?;
                writer.into_inner()
            }
            Kind::Gzip(mut writer) => {
                writer.write_all(input)?;
                writer.finish()?
            }
        };
        Ok(Bytes::from(output))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        match coding {
            Coding::Brotli => brotli::Decompressor::new(bytes, BUFFER).read_to_end(&mut all),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut all),
        }
        .unwrap();
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_goes_in_in_parts_comes_out_whole(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..5),
        ) {
            for coding in [Coding::Brotli, Coding::Gzip] {
                let mut encoder = Encoder::new(coding).unwrap();
                let (last, first) = parts.split_last().unwrap();
                let mut bytes = Vec::new();
                for part in first {
                    bytes.extend_from_slice(&encoder.encode(part).unwrap());
                }
                bytes.extend_from_slice(&encoder.finish(last).unwrap());
                prop_assert_eq!(decoded(coding, &bytes), parts.concat());
            }
        }
    }

    #[test]
    fn only_so_many_run_at_once() {
        static HERE: AtomicUsize = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..1_000).filter_map(|_| Place::take(&HERE)).collect();
        assert_eq!(places.len(), MOST);
        places.pop();
        assert!(Place::take(&HERE).is_some());
    }
}
