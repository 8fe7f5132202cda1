//! Every instruction set against the portable one, on ordinary and on odd numbers.

use super::*;
use crate::cpu::isa::Isa;

/// xorshift64*.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

const ODD: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    3.5,
    -0.5,
    1e-40,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    65520.0,
    6e-8,
    2.980_232_2e-8,
    1.003_906_3,
];

fn floats(seed: u64) -> [f32; 16] {
    let mut state = seed + 1;
    std::array::from_fn(|_| {
        let r = random(&mut state);
        if r.is_multiple_of(5) { ODD[r as usize / 5 % 16] } else { (r >> 40) as f32 / 4096.0 - 2048.0 }
    })
}

struct Everything {
    a: [f32; 16],
    b: [f32; 16],
    c: [f32; 16],
    w: [i32; 16],
    v: [i32; 16],
    n: usize,
}

/// Results as bits; NaNs all alike, since their payload may differ.
#[derive(Default)]
struct Results(Vec<Vec<u32>>);

impl Results {
    unsafe fn f<S: Simd16>(&mut self, x: S::F) {
        let mut out = [0.0; 16];
        // SAFETY: the array holds 16.
        unsafe { S::store(out.as_mut_ptr(), x) };
        self.scalars(&out);
    }
    fn scalars(&mut self, x: &[f32]) {
        self.0.push(x.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect());
    }
    unsafe fn i<S: Simd16>(&mut self, x: S::I) {
        let mut out = [0u32; 16];
        // SAFETY: the array holds 64 bytes.
        unsafe { S::store_i(out.as_mut_ptr().cast(), x) };
        self.0.push(out.to_vec());
    }
}

impl Kernel for &Everything {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> Vec<Vec<u32>> {
        let mut r = Results::default();
        // SAFETY: all arrays hold 16 elements; the instruction set is the caller's promise.
        unsafe {
            let (a, b, c) = (S::load(self.a.as_ptr()), S::load(self.b.as_ptr()), S::load(self.c.as_ptr()));
            let (w, v) = (S::load_i(self.w.as_ptr().cast()), S::load_i(self.v.as_ptr().cast()));
            for x in [S::add(a, b), S::sub(a, b), S::mul(a, b), S::div(a, b), S::max(a, b), S::min(a, b)] {
                r.f::<S>(x);
            }
            r.f::<S>(S::fma(a, b, c));
            r.f::<S>(S::round_ties_even(a));
            r.f::<S>(S::zero());
            r.f::<S>(S::load_first(self.a.as_ptr(), self.n));
            r.f::<S>(S::first_lanes(self.n, a, b));
            r.f::<S>(S::bits_shifted_left_23(a));
            r.f::<S>(S::from_bits(S::bits(a)));
            r.f::<S>(S::to_f(w));
            r.scalars(&[S::reduce_sum(a), S::reduce_max(a), S::first(b)]);
            let mut part = self.b;
            S::store_first(part.as_mut_ptr(), a, self.n);
            r.scalars(&part);
            let halves: *const u16 = self.w.as_ptr().cast();
            r.f::<S>(S::load_f16(halves));
            r.f::<S>(S::load_bf16(halves));
            let in_range = S::min(S::splat(2e9), S::max(a, S::splat(-2e9)));
            r.i::<S>(S::to_i(S::max(in_range, S::splat(-2e9))));
            let mut half = [0u16; 32];
            S::store_f16(half.as_mut_ptr(), S::max(a, S::splat(-7e4)));
            S::store_bf16(half.as_mut_ptr().add(16), a);
            r.0.push(half.map(u32::from).to_vec());
            integers::<S>(self, (w, v), &mut r);
        }
        r.0
    }
}

#[inline(always)]
unsafe fn integers<S: Simd16>(e: &Everything, (w, v): (S::I, S::I), r: &mut Results) {
    // SAFETY: as in `run`.
    unsafe {
        for x in [
            S::add_i(w, v),
            S::add_bytes(w, v),
            S::and_i(w, v),
            S::or_i(w, v),
            S::max_i(w, v),
            S::zero_i(),
            S::splat_i(e.v[0]),
        ] {
            r.i::<S>(x);
        }
        let n = e.n as u32;
        for x in [S::shl_i(w, n), S::shr_i(w, n), S::sar_i(w, n)] {
            r.i::<S>(x);
        }
        r.i::<S>(S::load_u8(e.w.as_ptr().cast()));
        r.i::<S>(S::load_i8(e.w.as_ptr().cast()));
        let small = S::and_i(v, S::splat_i(0xFF_FFFF));
        let narrow = S::and_i(w, S::splat_i(0x7F7F_7F7F));
        for a in [e.v[1], i32::from_le_bytes([0x80; 4]), 0x7F7F_7F7F, 0] {
            r.i::<S>(S::dot(small, w, a));
            r.i::<S>(S::dot(small, S::splat_i(-1), a));
            r.i::<S>(S::dot_narrow(small, narrow, a));
            r.i::<S>(S::dot_narrow(small, S::splat_i(0x7F7F_7F7F), a));
            // The most that is gathered, of quants of 4 and of 6 bits.
            for (bits, times) in [(0x0F0F_0F0F, 8), (0x3F3F_3F3F, 2)] {
                for w in [S::and_i(w, S::splat_i(bits)), S::splat_i(bits)] {
                    let mut sums = S::zero_i();
                    for _ in 0..times {
                        sums = S::gather(sums, w, a);
                    }
                    r.i::<S>(S::gathered(sums));
                }
            }
            // Of numbers up to 127 * 256 + 127, and down to as much below 0.
            for hi in [a & 0x7F7F_7F7F, 0x7F7F_7F7F, i32::from_le_bytes([0x81; 4])] {
                r.i::<S>(S::dot_whole(small, w, [hi, a]));
            }
            for words in [S::and_i(w, S::splat_i(0x0FFF_0FFF)), S::splat_i(-1)] {
                r.i::<S>(S::dot_words(small, words, a));
            }
        }
        let sums = S::sums_i([w, v, small, narrow, S::zero_i(), S::max_i(w, v), w, S::splat_i(-1)]);
        r.0.push(sums.map(|sum| sum as u32).to_vec());
        r.0.push(vec![S::reduce_max_i(w) as u32]);
        let mut bytes = [0i8; 16];
        S::store_low_bytes(bytes.as_mut_ptr(), w);
        r.0.push(bytes.map(|b| b as u32).to_vec());
        let (mut hi, mut lo) = ([0i8; 32], [0i8; 32]);
        // 127 * 256 + 127, as much below 0, and what lies between.
        for x in [S::sar_i(w, 17), S::splat_i(32639), S::splat_i(-32639), S::splat_i(128), S::splat_i(-129)] {
            S::store_digits([hi.as_mut_ptr(), lo.as_mut_ptr()], [x, S::sar_i(v, 17)]);
            r.0.push(hi.into_iter().chain(lo).map(|digit| digit as u32).collect());
        }
    }
}

#[test]
fn all_instruction_sets_give_the_portable_bits() {
    for seed in 0..200 {
        let mut state = seed + 77;
        let mut ints = || std::array::from_fn(|_| random(&mut state) as i32);
        let everything = Everything {
            a: floats(seed * 3),
            b: floats(seed * 3 + 1),
            c: floats(seed * 3 + 2),
            w: ints(),
            v: ints(),
            n: seed as usize % 17,
        };
        let want = Isa::PORTABLE.run(&everything);
        for isa in Isa::supported() {
            let got = isa.run(&everything);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got, want, "{isa}, result {i}, seed {seed}");
            }
        }
    }
}
