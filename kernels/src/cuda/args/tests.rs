//! The structs beside the parameters of the committed kernels: a field that only one side has would shift all others.

use std::alloc::Layout;

use super::*;
use crate::cuda::code::{MODULES, source};

fn layout_of(kernel: &str) -> Layout {
    match kernel {
        "embed_rows" => Layout::new::<EmbedArgs>(),
        "rms_norm" => Layout::new::<NormArgs>(),
        "rotary_store" => Layout::new::<RotaryArgs>(),
        "best_logit" => Layout::new::<BestArgs>(),
        "pack_dense" => Layout::new::<PackDenseArgs>(),
        "unpack_rows" => Layout::new::<UnpackArgs>(),
        "merge_parts" => Layout::new::<AttendArgs>(),
        _ => match kernel.split_once('_') {
            Some(("attend", _)) => Layout::new::<AttendArgs>(),
            Some(("prompt", _)) => Layout::new::<PromptArgs>(),
            Some(("linear" | "gated", _)) => Layout::new::<LinearArgs>(),
            Some(("wide", _)) => Layout::new::<WideArgs>(),
            _ => panic!("which struct does {kernel} take?"),
        },
    }
}

/// Kernel, alignment and size, as in `.param .align 8 .b8 merge_parts_param_0[136]`.
fn parameters(ptx: &str) -> Vec<(&str, usize, usize)> {
    let lines = ptx.lines().filter_map(|line| line.trim().strip_prefix(".param .align "));
    let parts = lines.filter_map(|line| {
        let (align, rest) = line.split_once(" .b8 ")?;
        let (kernel, rest) = rest.split_once("_param_0[")?;
        Some((kernel, align.parse().ok()?, rest.split_once(']')?.0.parse().ok()?))
    });
    parts.collect()
}

#[test]
fn structs_lie_in_memory_as_the_kernels_parameters() {
    for module in MODULES {
        let ptx = source(module);
        let parameters = parameters(ptx);
        assert_eq!(parameters.len(), ptx.matches(".entry ").count(), "{module}");
        for (kernel, align, size) in parameters {
            let layout = layout_of(kernel);
            assert_eq!((layout.align(), layout.size()), (align, size), "{kernel}");
        }
    }
}
