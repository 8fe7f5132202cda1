//! With less memory for partial results than a batch would take.

use super::*;

#[test]
fn sequences_that_are_not_cut_keep_their_bits() {
    for (heads, lengths, has_prompts, isas) in [
        ((3, 1, 64), &[540, 300, 513][..], false, Isa::supported()),
        ((40, 2, 24), &[540, 300, 513], false, vec![Isa::detect()]),
        ((2, 1, 16), &[300, 290], true, Isa::with_matrix_unit()),
    ] {
        let case = Case { has_prompts, ..Case::new(heads, 32, CacheType::F16, lengths) };
        for isa in isas {
            let steps = case.together(&[8, 3]);
            let expected = bits(&case.run(&mut Cpu::new(isa, 2), &steps));
            // None is cut; one of them, at times another; all of few parts.
            for slots in [0, 8 * 2 * heads.0, 13 * 2 * heads.0] {
                let mut cpu = Cpu::new(isa, 2);
                cpu.attention.plan.slots_max = Some(slots);
                assert!(bits(&case.run(&mut cpu, &steps)) == expected, "{heads:?}, {isa}, {slots} slots");
                assert_eq!(cpu.attention.slots.len() > 0, slots > 0);
            }
        }
    }
}
