//! Little-endian reads from the head of a GGUF file, each checked against the file's end.

use super::GgufError;

/// All keys, values and tensor descriptions together. The largest vocabularies take 20 MB.
const HEAD_BYTES_MAX: usize = 128 << 20;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    /// What is being read, for messages.
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, position: 0, what: "the header" }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn set_what(&mut self, what: &'static str) {
        self.what = what;
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], GgufError> {
        let offset = self.position;
        let left = self.bytes.len() - offset;
        let Some(count) = usize::try_from(count).ok().filter(|&count| count <= left) else {
            return Err(GgufError::Truncated { what: self.what, offset, wanted: count, left });
        };
        if offset + count > HEAD_BYTES_MAX {
            return Err(GgufError::HeadTooLarge { what: self.what, offset, limit: HEAD_BYTES_MAX });
        }
        self.position += count;
        Ok(&self.bytes[offset..self.position])
    }

    pub(super) fn u8(&mut self) -> Result<u8, GgufError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("take gives the length it was asked for"))
    }

    pub(super) fn str(&mut self) -> Result<&'a str, GgufError> {
        let offset = self.position;
        let length = self.u64()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|source| GgufError::Text { what: self.what, offset, source })
    }
}
