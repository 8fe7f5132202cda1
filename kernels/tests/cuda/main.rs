//! Products on a GPU are those of the dequantised weights, and attention is that of its keys: on the machine's own GPU
//! where OSTRO_REAL_GPU is set, else on the emulated driver.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used)]

mod attention;
mod emulator;
mod gpu;
mod products;
#[path = "../../../e2e/src/skipped.rs"]
mod skipped;

use std::sync::Mutex;

use emulator::{NO_COMPILER, is_real, run_on};
use gpu::{build_emulator, cuda, is_emulated_hopper};
use ostro_kernels::cpu::attention::HeadShape;
use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cuda::{Work, matrix_bytes};
use products::{Case, Random, begun_again, check, limits, weights};

/// One device, used by one test at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn products_are_those_of_the_dequantised_weights() {
    let _turn = TURN.lock();
    for weight_type in WeightType::ALL {
        let Some(mut cuda) = cuda() else { return };
        let columns = if weight_type.block_elements() == 256 { 512 } else { 288 };
        for (rows, outputs) in [(1, 200), (9, 48), (24, 48), (70, 64)] {
            check(&Case { weight_type, outputs, columns, rows, is_prompt: false }, &mut cuda, 2e-5);
        }
    }
}

/// Beyond 1024 columns a norm takes further turns, beyond 4096 it reads its rows twice. Products have more runs of
/// columns there than are under way together.
#[test]
fn products_of_wide_rows_are_those_of_the_dequantised_weights() {
    let _turn = TURN.lock();
    for weight_type in [WeightType::F16, WeightType::Q4_1, WeightType::Q8_0] {
        let Some(mut cuda) = cuda() else { return };
        for (rows, columns) in [(3, 1056), (3, 4640), (9, 4640), (24, 4640), (40, 4640)] {
            check(&Case { weight_type, outputs: 48, columns, rows, is_prompt: false }, &mut cuda, 2e-5);
        }
    }
}

/// As many query heads a key head as each kernel takes at once, fewer, and more; heads of each prompt kernel, among them
/// such as do not fill it.
#[test]
fn attention_is_that_of_the_keys_and_values_before() {
    let _turn = TURN.lock();
    for (query_heads, kv_heads, head_dim) in [(2, 2, 64), (6, 2, 128), (7, 1, 96), (8, 1, 256), (14, 1, 48)] {
        let Some(mut cuda) = cuda() else { return };
        let scale = 1.0 / (head_dim as f32).sqrt();
        attention::check(HeadShape { query_heads, kv_heads, head_dim, scale }, &mut cuda);
    }
}

/// Copies are as late there as they may be: a product, or a step of attention, that does not wait for its own shows. Blocks
/// have no more shared memory than on the GPUs that have least.
#[test]
fn what_the_emulated_gpu_computes_in_reverse_order_is_the_same() {
    let _turn = TURN.lock();
    if cuda().is_none() || is_emulated_hopper() || is_real() {
        return;
    }
    for (test, kernels) in [
        ("products_are_those_of_the_dequantised_weights", ["gated_Q4_FM_2", "linear_Q8_FM16_4"]),
        ("products_of_wide_rows_are_those_of_the_dequantised_weights", ["gated_DENSE_1", "linear_Q8_D_8"]),
        ("attention_is_that_of_the_keys_and_values_before", ["attend_8", "prompt_256"]),
    ] {
        let printed = run_on("86", test, "reverse");
        for kernel in kernels {
            assert!(printed.contains(kernel), "{test}: {kernel} was not launched");
        }
    }
}

/// On Hopper prompt rows have products of their own, of one half an activation and weight.
#[test]
fn prompt_products_are_near_those_of_the_dequantised_weights() {
    let _turn = TURN.lock();
    for (weight_type, columns) in
        [(WeightType::BF16, 512), (WeightType::F16, 288), (WeightType::Q4_1, 288), (WeightType::Q6_K, 512)]
    {
        let Some(mut cuda) = cuda() else { return };
        assert!(cuda.has_wide_products() || !is_emulated_hopper());
        let worst = if cuda.has_wide_products() { 1e-3 } else { 2e-5 };
        let shapes = match (is_real(), cuda.has_wide_products()) {
            (true, _) => vec![(1, 64), (130, 400), (300, 1024)],
            // More than one tile of rows and of outputs, none of them whole; one with little to do for each block.
            (false, true) => vec![(1, 64), (130, 528)],
            (false, false) => vec![(70, 64)],
        };
        for (rows, outputs) in shapes {
            check(&Case { weight_type, outputs, columns, rows, is_prompt: true }, &mut cuda, worst);
        }
    }
}

#[test]
fn prompt_products_of_an_emulated_hopper_are_near_too() {
    let _turn = TURN.lock();
    if cuda().is_none() || is_emulated_hopper() || is_real() {
        return;
    }
    for order in ["forward", "reverse"] {
        let printed = run_on("90", "prompt_products_are_near_those_of_the_dequantised_weights", order);
        for kernel in ["wide_128", "wide_256", "wide_gated", "unpack_rows"] {
            assert!(printed.contains(kernel), "{kernel} was not launched, {order}");
        }
    }
}

/// What is recorded of a head reads rows, of which there must be some.
#[test]
fn steps_without_sampled_rows_are_not_recorded() {
    let _turn = TURN.lock();
    for (rows, sampled, again) in [(20, 20, Work::Replayed), (20, 0, Work::Queue), (1, 0, Work::Queue)] {
        let Some(mut cuda) = cuda() else { return };
        assert_eq!(begun_again(&mut cuda, rows, sampled), again, "{rows} rows, {sampled} sampled");
    }
}

/// Kernels of known answers, and what breaks the rules of a GPU.
#[test]
fn emulator_passes_its_own_tests() {
    let _turn = TURN.lock();
    if build_emulator(&["--test"]).is_none() {
        skipped::tell(NO_COMPILER);
    }
}

#[test]
fn matrices_take_what_was_told() {
    let _turn = TURN.lock();
    let Some(mut cuda) = cuda() else { return };
    for weight_type in WeightType::ALL {
        for rows in [1, 70] {
            let shape = [rows, if weight_type.block_elements() == 256 { 512 } else { 288 }];
            let bytes = weights(weight_type, shape[0] * shape[1], &mut Random(rows as u64));
            let told = matrix_bytes(weight_type, shape);
            let before = cuda.memory().unwrap().0;
            let matrix = cuda.load_matrix(weight_type, shape, &bytes).unwrap();
            assert_eq!(matrix.bytes(), told, "{weight_type} {shape:?}");
            // A real GPU gives whole pages, and kernels take some.
            if !is_real() {
                let taken = (before - cuda.memory().unwrap().0) as usize;
                assert!((told..told + 2 * 256).contains(&taken), "{weight_type} {shape:?}: {taken}, {told}");
            }
        }
    }
}

#[test]
fn steps_reserve_what_was_told() {
    let _turn = TURN.lock();
    let Some(mut cuda) = cuda() else { return };
    let bytes = weights(WeightType::Q4_1, 64 * 64, &mut Random(1));
    let _matrix = cuda.load_matrix(WeightType::Q4_1, [64, 64], &bytes).unwrap();
    let told = cuda.reserved_bytes(&limits(), [(WeightType::Q4_1, [64, 64])]) as u64;
    let before = cuda.memory().unwrap().0;
    cuda.reserve(&limits()).unwrap();
    let taken = before - cuda.memory().unwrap().0;
    // Pieces are rounded up; a real GPU gives whole pages, and kernels take some.
    let spare = if is_real() { 64 << 20 } else { 8 * 256 };
    assert!((told..told + spare).contains(&taken), "{taken} bytes were taken, {told} were told");
}
