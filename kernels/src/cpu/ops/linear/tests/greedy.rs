use super::*;
use crate::cpu::block::BlockFormat;
use crate::cpu::head::Head;
use crate::cpu::pack::PANEL_ROWS;

fn head(weight_type: WeightType, rows: usize, columns: usize, bytes: &[u8], cpu: &mut Cpu) -> Head {
    Head::pack_estimated(MatrixBytes { weight_type, rows, columns, bytes }, cpu).unwrap()
}

/// Of each listed row the first of the largest of all outputs.
fn first_of_all(cpu: &mut Cpu, (input, list): (LinearInput<'_>, &[u32]), head: &Head) -> Vec<Option<u32>> {
    let mut logits = Rows::new(list.len(), head.matrix().rows());
    cpu.linear_rows(input, list, LinearWeights { parts: &[head.matrix()], bias: None }, &mut logits);
    let first = |row: &[f32]| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let is_finite = row.iter().all(|logit| logit.is_finite());
        is_finite.then(|| row.iter().position(|logit| *logit == largest).unwrap() as u32)
    };
    (0..list.len()).map(|row| first(logits.row(row))).collect()
}

fn largest(cpu: &mut Cpu, (input, list): (LinearInput<'_>, &[u32]), head: &Head) -> Vec<Option<u32>> {
    let mut room = Rows::new(list.len(), head.matrix().rows());
    cpu.largest_outputs(input, list, head, &mut room).collect()
}

fn check(x: &Rows, (weight_type, rows, columns): (WeightType, usize, usize), bytes: &[u8], what: &str) {
    for isa in Isa::supported() {
        for threads in [1, 3] {
            let mut cpu = Cpu::new(isa, threads);
            let head = head(weight_type, rows, columns, bytes, &mut cpu);
            let list: Vec<u32> = (0..x.rows() as u32).collect();
            let input = LinearInput { x, norm: None, split: None };
            let want = first_of_all(&mut cpu, (input, &list), &head);
            let got = largest(&mut cpu, (input, &list), &head);
            assert_eq!(got, want, "{what}: {weight_type} {rows} x {columns}, {isa}, {threads} threads");
        }
    }
}

#[test]
fn the_best_outputs_are_those_of_all_outputs() {
    for weight_type in WeightType::ALL.into_iter().filter(|t| BlockFormat::of(*t).is_some()) {
        for &(rows, columns) in shapes(weight_type) {
            let bytes = Random(41).weights(weight_type, rows * columns);
            for count in [1, 3, 4, 9] {
                let x = random_rows(count, columns, 42 + count as u64);
                check(&x, (weight_type, rows, columns), &bytes, "random");
            }
        }
    }
}

/// Many outputs are equal, or differ by what estimates leave out only.
#[test]
fn close_outputs_are_told_apart_and_the_first_of_equal_ones_is_taken() {
    let (weight_type, columns) = (WeightType::Q8_0, 64);
    let one = Random(51).weights(weight_type, columns);
    let equal = one.repeat(150);
    let x = random_rows(6, columns, 52);
    check(&x, (weight_type, 150, columns), &equal, "equal");
    for seed in 0..20 {
        // Each row of weights differs from the others in one quant by one or two.
        let mut close = equal.clone();
        let mut random = Random(seed);
        for row in close.chunks_exact_mut(one.len()) {
            let at = 2 + (random.next() >> 40) as usize % 32;
            row[at] = row[at].wrapping_add(1 + (random.next() >> 60) as u8 % 2);
        }
        check(&x, (weight_type, 150, columns), &close, "close");
    }
}

#[test]
fn rows_of_any_size_are_compared_and_what_is_not_finite_is_told() {
    let (weight_type, rows, columns) = (WeightType::Q4_K, 200, 512);
    let bytes = Random(61).weights(weight_type, rows * columns);
    let mut x = random_rows(8, columns, 62);
    for (row, scale) in [0.0, 1e-38, 1e-25, 1e-12, 1e12, 1e25, 1e38, f32::NAN].into_iter().enumerate() {
        x.row_mut(row).iter_mut().for_each(|x| *x *= scale);
    }
    check(&x, (weight_type, rows, columns), &bytes, "sizes");
    let mut cpu = Cpu::new(Isa::PORTABLE, 2);
    let head = head(weight_type, rows, columns, &bytes, &mut cpu);
    let input = LinearInput { x: &x, norm: None, split: None };
    let got = largest(&mut cpu, (input, &[0, 1, 2, 3, 4, 5, 6, 7]), &head);
    assert!(got[..5].iter().all(Option::is_some) && got[7].is_none(), "{got:?}");
}

/// A row of activations like one row of weights, so that no other panel can have its largest output.
#[test]
fn panels_far_below_the_best_output_are_left_out() {
    let (weight_type, rows, columns, like) = (WeightType::Q8_0, 200, 576, 70);
    let bytes = Random(81).weights(weight_type, rows * columns);
    for isa in Isa::supported() {
        let mut cpu = Cpu::new(isa, 2);
        let head = head(weight_type, rows, columns, &bytes, &mut cpu);
        let mut x = Rows::new(1, columns);
        head.matrix().dequantise_row(like, x.row_mut(0));
        let logit = product(&mut cpu, &x, &[head.matrix()]).row(0)[like];
        let mut room = Rows::new(1, rows);
        let input = LinearInput { x: &x, norm: None, split: None };
        let found: Vec<_> = cpu.largest_outputs(input, &[0], &head, &mut room).collect();
        assert_eq!(found, [Some(like as u32)]);
        let at_most = &room.row(0)[..rows.div_ceil(PANEL_ROWS)];
        let left: Vec<usize> = (0..at_most.len()).filter(|panel| at_most[*panel] >= 0.99 * logit).collect();
        assert_eq!(left, [like / PANEL_ROWS], "{isa}: {at_most:?} of {logit}");
    }
}

#[test]
fn listed_rows_are_normalised_and_found_in_the_order_of_the_list() {
    let (weight_type, rows, columns) = (WeightType::Q6_K, 300, 512);
    let bytes = Random(91).weights(weight_type, rows * columns);
    let x = random_rows(9, columns, 92);
    let mut random = Random(93);
    let weight: Vec<f32> = (0..columns).map(|_| random.unit()).collect();
    let input = LinearInput { x: &x, norm: Some(Norm { weight: &weight, eps: 1e-6 }), split: None };
    for isa in Isa::supported() {
        let mut cpu = Cpu::new(isa, 2);
        let head = head(weight_type, rows, columns, &bytes, &mut cpu);
        for list in [&[8, 3, 0, 3, 5, 1][..], &[2], &[]] {
            let want = first_of_all(&mut cpu, (input, list), &head);
            assert_eq!(largest(&mut cpu, (input, list), &head), want, "{isa}: {list:?}");
        }
        let want = first_of_all(&mut cpu, (input, &[8, 3, 0]), &head);
        assert!(want[0] != want[1] && want[1] != want[2], "{want:?}");
    }
}
