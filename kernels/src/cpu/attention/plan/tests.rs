use super::*;
use std::collections::HashMap;

fn rows(sequence: u32, positions: Range<u32>) -> Vec<RowPlace> {
    positions.map(|position| RowPlace { sequence, position, is_prompt: false }).collect()
}

fn check(rows: &[RowPlace], shape: &HeadShape, threads: usize) {
    let slots_max = [0, 7 * shape.query_heads].map(Some);
    for slots_max in slots_max.into_iter().chain([None]) {
        let mut plan = Plan { slots_max, ..Plan::default() };
        plan.build(&BatchView { rows, block_tables: &[] }, shape, threads);
        assert!(slots_max.is_none_or(|most| plan.slots <= most));
        check_units(&plan, rows, shape);
    }
}

fn check_units(plan: &Plan, rows: &[RowPlace], shape: &HeadShape) {
    // (batch row, query head, part) -> how often
    let mut done = HashMap::new();
    for unit in &plan.units {
        assert!(unit.rows > 0 && unit.rows <= rows_max(shape.group()));
        for r in unit.row..unit.row + unit.rows {
            let batch_row = unit.run.batch_row + r / shape.group();
            let head = unit.kv_head * shape.group() + r % shape.group();
            let parts = match unit.keys {
                Keys::All => 0..(rows[batch_row].position as usize + 1).div_ceil(PART),
                Keys::Part { part, .. } => part..part + 1,
            };
            parts.for_each(|part| *done.entry((batch_row, head, part)).or_insert(0) += 1);
        }
    }
    for (batch_row, place) in rows.iter().enumerate() {
        for head in 0..shape.query_heads {
            for part in 0..(place.position as usize + 1).div_ceil(PART) {
                assert_eq!(done.get(&(batch_row, head, part)), Some(&1));
            }
        }
    }
}

#[test]
fn every_row_head_and_part_is_done_once() {
    let batches = [
        rows(0, 0..1),
        rows(0, 1023..1024),
        rows(0, 0..700),
        rows(0, 250..259),
        [rows(0, 255..256), rows(1, 0..100), rows(2, 256..260), rows(3, 900..1000)].concat(),
    ];
    for (query_heads, kv_heads) in [(9, 3), (8, 8), (7, 1), (14, 2), (120, 1)] {
        let shape = HeadShape { query_heads, kv_heads, head_dim: 64, scale: 1.0 };
        for threads in [1, 2, 7] {
            batches.iter().for_each(|batch| check(batch, &shape, threads));
        }
    }
}

#[test]
fn a_lone_short_row_is_cut_only_where_the_pieces_are_worth_it() {
    for (query_heads, kv_heads, units) in [(9, 3, 3), (16, 1, 4), (14, 2, 4)] {
        let shape = HeadShape { query_heads, kv_heads, head_dim: 64, scale: 1.0 };
        let mut plan = Plan::default();
        plan.build(&BatchView { rows: &rows(0, 100..101), block_tables: &[] }, &shape, 2);
        assert_eq!(plan.units.len(), units);
    }
}

#[test]
fn threads_start_with_units_of_their_own_and_take_every_other_one_once() {
    let shape = HeadShape { query_heads: 9, kv_heads: 3, head_dim: 64, scale: 1.0 };
    let mut batch: Vec<_> = (0..16).flat_map(|sequence| rows(sequence, 200..201)).collect();
    for has_prompt in [false, true] {
        for threads in [1, 2, 7, 100] {
            let mut plan = Plan::default();
            plan.build(&BatchView { rows: &batch, block_tables: &[] }, &shape, threads);
            let next = AtomicUsize::new(plan.first(threads, threads).start);
            let first = (0..threads).map(|id| plan.first(id, threads));
            let taken = std::iter::from_fn(|| Some(plan.take(&next, threads)).filter(|r| !r.is_empty()));
            assert!(first.chain(taken).flatten().eq(0..plan.units.len()));
            assert_eq!(plan.first(0, threads).is_empty(), has_prompt || threads == 100);
        }
        batch.extend(rows(16, 0..100));
    }
}

#[test]
fn threads_take_every_unit_once_and_the_last_ones_singly() {
    let mut plan = Plan::default();
    let shape = HeadShape { query_heads: 9, kv_heads: 3, head_dim: 64, scale: 1.0 };
    let batch = [rows(0, 0..100), rows(1, 4095..4096)].concat();
    plan.build(&BatchView { rows: &batch, block_tables: &[] }, &shape, 2);
    let next = AtomicUsize::new(0);
    let taken: Vec<_> = std::iter::from_fn(|| Some(plan.take(&next, 2)).filter(|r| !r.is_empty())).collect();
    assert!(taken.iter().flat_map(|range| range.clone()).eq(0..plan.units.len()));
    assert!(taken[..plan.tiles].iter().all(|range| range.len() == 1));
    assert_eq!(taken[plan.tiles].len(), 12);
    assert_eq!(taken.last().unwrap().len(), 1);
}

#[test]
fn plans_stay_within_their_sizes() {
    // A lone sequence at its end, chunks of all lengths, many sequences, and both.
    let (count, positions) = (40, 6000);
    let at_end = |sequence, tokens| rows(sequence, positions - tokens..positions);
    let batches = [
        at_end(0, 1),
        at_end(0, 8),
        at_end(0, count),
        (0..count).flat_map(|sequence| at_end(sequence, 1)).collect(),
        (0..5).flat_map(|sequence| at_end(sequence, 8)).collect(),
        (0..8).flat_map(|sequence| at_end(sequence, 1 + sequence)).collect(),
        (0..count).flat_map(|sequence| rows(sequence, 100..101)).collect(),
        [at_end(0, 8), rows(1, 0..count - 9), at_end(2, 1)].concat(),
    ];
    for (query_heads, kv_heads, head_dim) in [(9, 3, 64), (128, 128, 256), (7, 1, 8), (300, 2, 128)] {
        let shape = HeadShape { query_heads, kv_heads, head_dim, scale: 1.0 };
        for threads in [1, 2, 16, 500] {
            let limits = (count as usize, positions as usize);
            let sizes = PlanSizes::of(limits, &shape, threads);
            let mut plan = Plan::default();
            plan.reserve(sizes).unwrap();
            let before = plan.bytes();
            for batch in &batches {
                plan.build(&BatchView { rows: batch, block_tables: &[] }, &shape, threads);
                assert!(plan.slots <= sizes.slots, "{} slots, {sizes:?}", plan.slots);
                assert!(plan.units.len() <= sizes.units, "{} units, {sizes:?}", plan.units.len());
                if threads == 2 {
                    check_units(&plan, batch, &shape);
                }
            }
            assert_eq!((plan.bytes(), before), (sizes.bytes(), sizes.bytes()));
        }
    }
}

#[test]
fn a_lone_sequence_is_cut_up_to_its_longest() {
    for positions in [257, 5000, 131_072] {
        let shape = HeadShape { query_heads: 32, kv_heads: 8, head_dim: 64, scale: 1.0 };
        let mut plan = Plan::default();
        plan.reserve(PlanSizes::of((512, positions as usize), &shape, 2)).unwrap();
        let batch = rows(0, positions - FEW_TOKENS as u32..positions);
        plan.build(&BatchView { rows: &batch, block_tables: &[] }, &shape, 2);
        assert_eq!((plan.tiles, plan.cuts.len()), (0, 1));
    }
}
