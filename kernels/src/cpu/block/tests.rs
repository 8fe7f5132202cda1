use super::*;

/// xorshift64*: reproducible test data.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Uniform in -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Bell-shaped, with an outlier of about 30 times in every 200 values.
    pub(crate) fn activation(&mut self) -> f32 {
        let v = self.unit() + self.unit() + self.unit();
        if self.next().is_multiple_of(200) { v * 30.0 } else { v }
    }

    /// Blocks of `elements` weights of about the size of a model's.
    pub(crate) fn weights(&mut self, weight_type: WeightType, elements: usize) -> Vec<u8> {
        let bytes = weight_type.bytes_of(elements).unwrap();
        let mut out = Vec::with_capacity(bytes);
        while out.len() < bytes {
            match weight_type {
                WeightType::F32 => out.extend((self.unit() * 0.1).to_le_bytes()),
                WeightType::F16 => out.extend(f16::from_f32(self.unit() * 0.1).to_le_bytes()),
                WeightType::BF16 => out.extend(bf16::from_f32(self.unit() * 0.1).to_le_bytes()),
                _ => self.block(weight_type, &mut out),
            }
        }
        out
    }

    fn block(&mut self, weight_type: WeightType, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend((0..weight_type.block_bytes()).map(|_| 0));
        out[start..].fill_with(|| (self.next() >> 32) as u8);
        let (d, m) = scale_places(weight_type);
        let levels = (1 << BlockFormat::of(weight_type).unwrap().bits) as f32;
        let scale = 0.1 / levels * (1.0 + 0.5 * self.unit());
        let k_type = weight_type.block_elements() == 256;
        let d_value = if k_type { scale / 32.0 } else { scale };
        out[start + d..][..2].copy_from_slice(&f16::from_f32(d_value).to_le_bytes());
        if let Some(m) = m {
            let m_value = if k_type { d_value * levels / 2.0 } else { -scale * levels / 2.0 };
            out[start + m..][..2].copy_from_slice(&f16::from_f32(m_value).to_le_bytes());
        }
    }
}

/// Where a block in a file has its f16 scale, and its minimum.
pub(crate) fn scale_places(weight_type: WeightType) -> (usize, Option<usize>) {
    match weight_type {
        WeightType::Q2_K => (80, Some(82)),
        WeightType::Q3_K => (108, None),
        WeightType::Q6_K => (208, None),
        _ => (0, BlockFormat::of(weight_type).unwrap().has_minimum().then_some(2)),
    }
}

/// See golden.py.
#[test]
fn every_block_type_is_what_gguf_py_makes_of_it() {
    let mut rest: &[u8] = include_bytes!("golden.bin");
    let mut types = 0;
    let take = |rest: &mut &[u8], n: usize| {
        let (head, tail) = rest.split_at(n);
        *rest = tail;
        head.to_vec()
    };
    let number = |rest: &mut &[u8]| u32::from_le_bytes(take(rest, 4).try_into().unwrap());
    while !rest.is_empty() {
        let weight_type = WeightType::from_ggml_id(number(&mut rest)).unwrap();
        let size = number(&mut rest) as usize;
        let bytes = take(&mut rest, size);
        let count = number(&mut rest) as usize;
        let want: Vec<f32> =
            take(&mut rest, count * 4).chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let mut got = vec![0.0; count];
        weight_type.dequantise(&bytes, &mut got);
        assert_eq!(got, want, "{weight_type:?}");
        types += 1;
    }
    assert_eq!(types, 10);
}

#[test]
fn dense_types_are_their_numbers() {
    let mut out = [0.0; 2];
    WeightType::F32.dequantise(&[0, 0, 128, 63, 0, 0, 0, 192], &mut out);
    assert_eq!(out, [1.0, -2.0]);
    WeightType::F16.dequantise(&[0, 60, 0, 192], &mut out);
    assert_eq!(out, [1.0, -2.0]);
    WeightType::BF16.dequantise(&[128, 63, 0, 192], &mut out);
    assert_eq!(out, [1.0, -2.0]);
}

#[test]
fn bytes_count_whole_blocks_only() {
    assert_eq!(WeightType::Q4_0.bytes_of(64), Some(36));
    assert_eq!(WeightType::Q4_0.bytes_of(33), None);
    assert_eq!(WeightType::Q6_K.bytes_of(256), Some(210));
    assert_eq!(WeightType::F32.bytes_of(usize::MAX), None);
    assert_eq!(WeightType::from_ggml_id(4), None);
}
